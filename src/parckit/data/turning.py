"""Boxes and masks that turn with a picture whose EXIF tag says how to hold it.

Decoding turns pictures upright. Boxes that were drawn on the stored pixels must turn with them.
"""

from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

UPRIGHT = 1
"""The EXIF orientation of a picture that is stored as it is shown."""

_STEPS: dict[int, tuple[bool, bool, bool]] = {
    1: (False, False, False),
    2: (False, True, False),
    3: (False, True, True),
    4: (False, False, True),
    5: (True, False, False),
    6: (True, True, False),
    7: (True, True, True),
    8: (True, False, True),
}
"""EXIF orientation -> whether x and y are swapped, then x is mirrored, then y is mirrored."""

SWAPPING = frozenset(orientation for orientation, steps in _STEPS.items() if steps[0])
"""The orientations that swap width and height."""

_Scalar = TypeVar("_Scalar", bound=np.generic)


def upright_size(width: int, height: int, *, orientation: int) -> tuple[int, int]:
    """Return width and height of a picture after turning it upright."""
    return (height, width) if orientation in SWAPPING else (width, height)


def turn_boxes(boxes: NDArray[np.float64], *, sizes: NDArray[np.int64], orientation: int) -> NDArray[np.float64]:
    """Return the boxes after their pictures are turned upright.

    Args:
        boxes: (left, top, right, bottom) in the stored pixels.
        sizes: width and height of the stored picture of every box.
        orientation: EXIF orientation of the pictures.

    Shape:
        boxes: (N, 4)
        sizes: (N, 2)
        returned: (N, 4)
    """
    is_swapped, is_x_mirrored, is_y_mirrored = _STEPS[orientation]
    left, top, right, bottom = boxes.T
    width, height = sizes.T
    if is_swapped:
        left, top, right, bottom, width, height = top, left, bottom, right, height, width
    if is_x_mirrored:
        left, right = width - right, width - left
    if is_y_mirrored:
        top, bottom = height - bottom, height - top
    return np.stack([left, top, right, bottom], axis=1)


def turn_pixels(pixels: NDArray[_Scalar], *, orientation: int) -> NDArray[_Scalar]:
    """Return masks as they are after their picture is turned upright.

    Shape:
        (..., H, W) -> (..., H, W) or (..., W, H)
    """
    is_swapped, is_x_mirrored, is_y_mirrored = _STEPS[orientation]
    if is_swapped:
        pixels = pixels.swapaxes(-1, -2)
    if is_x_mirrored:
        pixels = pixels[..., ::-1]
    return pixels[..., ::-1, :] if is_y_mirrored else pixels
