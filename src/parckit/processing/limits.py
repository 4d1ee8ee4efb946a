"""Checks of the numbers that files and users set in decoders."""

import math

from parckit.contract import InputError


def check_count(name: str, value: float, *, of: str) -> int:
    """Return a number of things as a whole number.

    Args:
        name: what an error calls it.
        value: the number.
        of: the things, such as boxes.

    Raises:
        InputError: if it is not a whole number, or is below 1.
    """
    if not 1 <= value < math.inf or int(value) != value:
        raise InputError(f"{name}={value}: must be a whole number of {of}, at least 1")
    return int(value)


def check_share(name: str, value: float, *, what: str = "share") -> float:
    """Return a share.

    Args:
        name: what an error calls it.
        value: the number.
        what: the kind of share, such as probability.

    Raises:
        InputError: if it does not lie between 0 and 1.
    """
    if not 0 <= value <= 1:
        raise InputError(f"{name}={value}: must be a {what}, from 0 to 1")
    return value
