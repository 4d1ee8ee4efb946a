"""NV12: the form in which cameras and video decoders of boards give pictures, and in which some NPUs take them.

A picture of H x W pixels becomes (3 H / 2, W) bytes: H rows of brightness (Y), and H / 2 rows in which the two colours
(U and V) of every square of four pixels follow each other. So colours have half the resolution.

The colours are those of ITU-R BT.601. It has two ranges. The full range uses all levels from 0 to 255, as JPEG files do
(ITU-T T.871). In the limited range, Y lies from 16 to 235, and U and V from 16 to 240. D-Robotics' compiler takes the
full range, if its setting `input_space_and_range` is `regular`, and the limited one for `bt601_video` (RDK
documentation, ptq_process.md, github.com/D-Robotics/rdk_doc). The documentation does not say how the NPU brings the
colours back to full resolution. Here, all four pixels of a square get the same colour.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError

ColourRange = Literal["full", "limited"]

_RED, _BLUE = 0.299, 0.114
"""Shares of red and blue in the brightness, BT.601. Green has the rest."""
_FROM_RGB = np.array(
    [
        [_RED, 1 - _RED - _BLUE, _BLUE],
        [-_RED / (2 * (1 - _BLUE)), -(1 - _RED - _BLUE) / (2 * (1 - _BLUE)), 0.5],
        [0.5, -(1 - _RED - _BLUE) / (2 * (1 - _RED)), -_BLUE / (2 * (1 - _RED))],
    ],
    np.float32,
)
"""(Y, U, V) x (R, G, B), where U and V lie around 0."""
_TO_RGB = np.linalg.inv(_FROM_RGB.astype(np.float64)).astype(np.float32)
_SCALES: dict[ColourRange, tuple[float, float, float]] = {
    "full": (0.0, 1.0, 1.0),
    "limited": (16.0, 219 / 255, 224 / 255),
}
"""Range -> Y of black, and the scales of Y and of the colours."""
_GREY = 128
"""U and V of a pixel without colour."""


def rgb_to_nv12(pixels: NDArray[np.uint8], *, colour_range: ColourRange = "full") -> NDArray[np.uint8]:
    """Turn an RGB picture into NV12. The colour of a square of four pixels is their mean.

    Args:
        pixels: the picture; height and width are even.
        colour_range: levels that the bytes use.

    Raises:
        InputError: if height or width is odd.

    Shape:
        (H, W, 3) -> (3 H / 2, W)
    """
    height, width = pixels.shape[:2]
    if height % 2 or width % 2:
        raise InputError(f"a picture of {width}x{height} pixels: NV12 needs an even width and height")
    black, bright, colourful = _SCALES[colour_range]
    levels = pixels.astype(np.float32)
    result = np.empty((height // 2 * 3, width), np.uint8)
    result[:height] = _levels(black + bright * (levels @ _FROM_RGB[0]))
    squares = levels.reshape(height // 2, 2, width // 2, 2, 3).mean(axis=(1, 3))
    result[height:] = _levels(_GREY + colourful * (squares @ _FROM_RGB[1:].T)).reshape(height // 2, width)
    return result


def nv12_to_rgb(data: NDArray[np.uint8], *, colour_range: ColourRange = "full") -> NDArray[np.uint8]:
    """Turn an NV12 picture into RGB. All four pixels of a square get its colour.

    Args:
        data: the picture.
        colour_range: levels that the bytes use.

    Shape:
        (3 H / 2, W) -> (H, W, 3)
    """
    height, width = len(data) // 3 * 2, data.shape[1]
    black, bright, colourful = _SCALES[colour_range]
    luma = (data[:height].astype(np.float32) - black) / bright
    squares = (data[height:].reshape(height // 2, width // 2, 2).astype(np.float32) - _GREY) / colourful
    colours = (squares @ _TO_RGB[:, 1:].T).repeat(2, axis=0).repeat(2, axis=1)
    return _levels(luma[..., None] + colours)


def _levels(values: NDArray[np.float32]) -> NDArray[np.uint8]:
    return values.round().clip(0, 255).astype(np.uint8)
