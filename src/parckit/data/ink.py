"""Handwritten digits as ink: enlarged, turned, and painted on a canvas, for `parckit.data.digit_scenes`."""

import math

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_CELLS = 8
"""Height and width of the stored digits, pixels."""

_MARGIN = 2
"""Empty pixels around a stored digit: bicubic enlarging needs neighbours."""

_STEEPEST = math.radians(15)
_STRETCH = 0.15
_INK_AT = 0.48
"""Enlarged values count as ink from here, in 0..1."""

INKED = 0.5
"""A pixel belongs to the mask from this opacity."""

_SOFT = 1.5
"""Width of the soft edge of a stroke, pixels."""

_CONTRAST = 75.0
"""Smallest difference of brightness between a digit and the canvas under it, in 0..255."""

_BRIGHTNESS = np.array([0.299, 0.587, 0.114], dtype=np.float32)
"""Weights of red, green and blue (ITU-R BT.601)."""

_COLOURS = 24
"""Random colours from which the first one with enough contrast is taken."""


def write_digit(digit: NDArray[np.uint8], *, height: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Return how much of every pixel is ink, for a digit of a height in pixels, turned and stretched a little.

    Shape:
        digit: (8, 8)
        returned: (h, w), in 0..1
    """
    angle = rng.uniform(-_STEEPEST, _STEEPEST)
    stretch = rng.uniform(1 - _STRETCH, 1 + _STRETCH)
    # From a pixel of the result back to the stored digit.
    inked = digit[:, _extent(digit > 0, axis=0)]
    scale = _CELLS / height
    cosine, sine = math.cos(angle) * scale, math.sin(angle) * scale
    # The result has room for the turned digit and half a cell around it.
    rows, columns = len(inked) + 1, (inked.shape[1] + 1) * stretch
    side_x = math.ceil((columns * math.cos(angle) + rows * abs(math.sin(angle))) / scale)
    side_y = math.ceil((rows * math.cos(angle) + columns * abs(math.sin(angle))) / scale)
    padded = np.pad(inked, _MARGIN)
    row_x, row_y = (cosine / stretch, sine / stretch), (-sine, cosine)
    offsets = [
        middle / 2 - (along_x * side_x + along_y * side_y) / 2
        for middle, (along_x, along_y) in zip(padded.shape[::-1], (row_x, row_y), strict=True)
    ]
    matrix = (*row_x, offsets[0], *row_y, offsets[1])
    image = Image.fromarray(padded).transform(
        (side_x, side_y), Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC
    )
    # A steep curve makes strokes with clear edges of blurred ones. Values change by up to 1 / cell.
    values = np.asarray(image, dtype=np.float32) * np.float32(1 / 255)
    opacity = ((values - _INK_AT) / min(0.6, _SOFT * scale) + np.float32(0.5)).clip(0, 1)
    inked = opacity >= INKED
    return opacity[_extent(inked, axis=1), _extent(inked, axis=0)]


def _extent(mask: NDArray[np.bool_], *, axis: int) -> slice:
    """Return where a mask begins and ends. A mask without pixels is whole."""
    occupied = np.flatnonzero(mask.any(axis=axis))
    return slice(int(occupied[0]), int(occupied[-1]) + 1) if occupied.size else slice(None)


def paint(canvas: NDArray[np.float32], opacity: NDArray[np.float32], *, rng: np.random.Generator) -> None:
    """Paint a digit into a part of the canvas, in a colour that is brighter or darker than what is there."""
    colours = rng.uniform(0, 255, (_COLOURS, 3)).astype(np.float32)
    contrast = np.abs((colours - canvas.mean(axis=(0, 1))) @ _BRIGHTNESS)
    # The first one that stands out, otherwise the one that stands out most.
    is_clear = contrast >= _CONTRAST
    colour = colours[int(is_clear.argmax() if is_clear.any() else contrast.argmax())]
    # The colour changes a little from the top of a digit to its bottom.
    shade = np.linspace(-1, 1, len(opacity), dtype=np.float32)[:, None, None] * np.float32(rng.uniform(-25, 25))
    canvas += opacity[..., None] * ((colour + shade).clip(0, 255) - canvas)


def tight_boxes(masks: NDArray[np.bool_]) -> NDArray[np.float32]:
    """Return the tight box around the pixels of every mask.

    Shape:
        (N, H, W) -> (N, 4)
    """
    boxes = np.zeros((len(masks), 4), dtype=np.float32)
    for index, mask in enumerate(masks):
        columns, rows = _extent(mask, axis=0), _extent(mask, axis=1)
        boxes[index] = (columns.start, rows.start, columns.stop, rows.stop)
    return boxes
