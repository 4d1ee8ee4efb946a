"""Compare a state dict with the model that it is for."""

from collections.abc import Mapping

from torch import Tensor


def compare_keys(expected: Mapping[str, Tensor], loaded: Mapping[str, Tensor]) -> dict[str, list[str]]:
    """Return the keys that do not fit, by kind: missing, unexpected or mis-shaped; empty if all fit.

    Args:
        expected: the state dict of the model.
        loaded: the state dict to load into it.
    """
    faults = {
        "missing": [key for key in expected if key not in loaded],
        "unexpected": [key for key in loaded if key not in expected],
        "mis-shaped": [key for key in loaded if key in expected and expected[key].shape != loaded[key].shape],
    }
    return {kind: keys for kind, keys in faults.items() if keys}


def describe_faults(faults: Mapping[str, list[str]], *, shown: int = 8) -> str:
    """Return one line that names the first `shown` keys of each kind of fault."""
    return "; ".join(f"{kind}: {_shorten(keys, shown=shown)}" for kind, keys in faults.items())


def _shorten(keys: list[str], *, shown: int) -> str:
    rest = len(keys) - shown
    return ", ".join(keys[:shown]) + (f" and {rest} more" if rest > 0 else "")
