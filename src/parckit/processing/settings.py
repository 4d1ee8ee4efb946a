"""The thresholds and counts of decoders, which callers may override."""

from collections.abc import Callable
from inspect import signature

from parckit.contract import Setting


def usual_settings(decoder: Callable[..., object]) -> dict[str, Setting]:
    """Return the thresholds and counts of a decoder, by name, with the values that its signature gives them."""
    defaults = {name: parameter.default for name, parameter in signature(decoder).parameters.items()}
    return {name: value for name, value in defaults.items() if isinstance(value, int | float)}
