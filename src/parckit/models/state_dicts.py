"""Comparing state dicts with the model that they are for."""

from collections.abc import Mapping

from torch import Tensor


def compare_keys(own: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the keys at fault by what is wrong with them: missing, unexpected, mis-shaped; empty if all fit.

    Args:
        own: the model's.
        given: to be loaded.
    """
    faults = {
        "missing": [key for key in own if key not in given],
        "unexpected": [key for key in given if key not in own],
        "mis-shaped": [key for key in given if key in own and own[key].shape != given[key].shape],
    }
    return {kind: keys for kind, keys in faults.items() if keys}


def describe_faults(faults: Mapping[str, list[str]], *, shown: int = 8) -> str:
    """Return a line on the keys at fault, with the first few of each kind."""
    return "; ".join(f"{kind}: {_shorten(keys, shown=shown)}" for kind, keys in faults.items())


def _shorten(keys: list[str], *, shown: int) -> str:
    rest = len(keys) - shown
    return ", ".join(keys[:shown]) + (f" and {rest} more" if rest > 0 else "")
