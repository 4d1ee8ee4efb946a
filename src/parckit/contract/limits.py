"""Limits that a user may set in the environment."""

import os
import re

from parckit.contract.errors import InputError

PIXELS_VARIABLE = "PARCKIT_MAX_PIXELS"


def most_pixels() -> int | None:
    """Return the most pixels that a picture may have, as the environment says; None if it does not.

    Raises:
        InputError: if the variable holds anything but a positive number.
    """
    value = os.environ.get(PIXELS_VARIABLE)
    if value is None:
        return None
    if not re.fullmatch(r"0*[1-9]\d{0,18}", value, re.ASCII):
        raise InputError(f"{PIXELS_VARIABLE}={value}: must be a positive number of pixels, such as 500000000")
    return int(value)
