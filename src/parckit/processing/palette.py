"""Colours of classes in drawings: one for each of up to 255 classes, always the same."""

from functools import cache

import numpy as np
from numpy.typing import NDArray

from parckit.processing.detect import COLOURS

Colour = tuple[int, int, int]
"""Red, green and blue, 0 to 255."""

MOST_CLASSES = 255
"""Most classes of a mask; its pixels are bytes, and 255 stands for no class."""
_LEVELS = (0, 43, 85, 128, 170, 213, 255)
"""Values of red, green and blue from which further colours are chosen."""
_DARKEST = 0.35
"""Least lightness in Oklab of a further colour, 0 to 1: over a picture, dark colours look the same."""
_UNKNOWN: Colour = (255, 255, 255)
"""Colour of pixels without a class. No class has it."""


@cache
def class_colours() -> tuple[Colour, ...]:
    """Return 256 different colours by class number; the last one, white, stands for no class.

    The first eight are `COLOURS`. Each of the others is, among some hundred colours, the one that is most different
    from all before it, as people see it.
    """
    first = [*map(_from_hex, COLOURS), _UNKNOWN]
    levels = np.array(_LEVELS)
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    grid = grid[_as_seen(grid)[:, 0] >= _DARKEST]
    places = _as_seen(grid)
    nearest = np.full(len(grid), np.inf)
    for colour in first:
        nearest = np.minimum(nearest, _distances(places, np.array(colour)))
    further: list[Colour] = []
    while len(further) < MOST_CLASSES - len(COLOURS):
        # Rounding errors, which differ between machines, must not decide between equal distances.
        best = int(nearest.round(6).argmax())
        red, green, blue = grid[best].tolist()
        further.append((red, green, blue))
        nearest = np.minimum(nearest, _distances(places, grid[best]))
    return (*first[: len(COLOURS)], *further, _UNKNOWN)


def _from_hex(colour: str) -> Colour:
    red, green, blue = bytes.fromhex(colour[1:])
    return red, green, blue


def _distances(places: NDArray[np.float64], colour: NDArray[np.int64]) -> NDArray[np.float64]:
    return np.linalg.norm(places - _as_seen(colour), axis=-1)


def _as_seen(colours: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return where colours lie in Oklab (bottosson.github.io/posts/oklab), in which distances are as people see them.

    Shape:
        (..., 3) -> (..., 3)
    """
    shares = colours / 255
    linear = np.where(shares <= 0.04045, shares / 12.92, ((shares + 0.055) / 1.055) ** 2.4)
    return np.cbrt(linear @ _TO_CONES) @ _TO_OKLAB


_TO_CONES = np.array(
    [
        [0.4122214708, 0.2119034982, 0.0883024619],
        [0.5363325363, 0.6806995451, 0.2817188376],
        [0.0514459929, 0.1073969566, 0.6299787005],
    ]
)
"""From linear red, green and blue to what the three kinds of cones in the eye see."""
_TO_OKLAB = np.array(
    [
        [0.2104542553, 1.9779984951, 0.0259040371],
        [0.7936177850, -2.4285922050, 0.7827717662],
        [-0.0040720468, 0.4505937099, -0.8086757660],
    ]
)
"""From the cube roots of these to lightness, green to red, and blue to yellow."""
