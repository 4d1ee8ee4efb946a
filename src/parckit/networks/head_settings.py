"""The keywords of a head in a spec, as the dataclass that the head has for them."""

from typing import TypeVar

from parckit.contract import NetworkSpec, from_plain, to_plain

SettingsT = TypeVar("SettingsT")


def read_head_settings(kind: type[SettingsT], spec: NetworkSpec) -> SettingsT:
    """Return the keywords of a spec's head. Keywords that the spec does not set have their defaults.

    Args:
        kind: the dataclass; all its fields have defaults.
        spec: the network.

    Raises:
        InputError: if a keyword is unknown, or its value has the wrong type or is refused.
    """
    return from_plain(kind, to_plain(kind()) | dict(spec.head_kwargs), name="head_kwargs")
