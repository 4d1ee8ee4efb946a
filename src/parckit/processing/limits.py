"""Checks of the numbers that files and users set in decoders."""

import math

from parckit.contract import InputError


def check_count(name: str, value: float) -> int:
    """Return a count as a whole number.

    Raises:
        InputError: if it is not a whole number, or is below 1.
    """
    if not 1 <= value < math.inf or int(value) != value:
        raise InputError(f"{name}={value}: must be a whole number, at least 1")
    return int(value)


def check_share(name: str, value: float) -> float:
    """Return a share.

    Raises:
        InputError: if it does not lie between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value}: must lie between 0 and 1")
    return value
