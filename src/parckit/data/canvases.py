"""Smooth random textures, on which `parckit.data.digit_scenes` paints digits."""

import math
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_GRAIN = 7.0
"""Largest change of a pixel by fine noise, in 0..255."""

_COARSEST, _FINEST = 3, 20
"""Cells of the grid of random values, along a side, that becomes smooth noise."""


def draw_canvas(rng: np.random.Generator, *, side: int) -> NDArray[np.float32]:
    """Return a random texture between two colours.

    Args:
        rng: where the randomness comes from.
        side: height and width, pixels.

    Shape:
        (side, side, 3), values in 0..255
    """
    names = sorted(_TEXTURES)
    texture = _TEXTURES[names[int(rng.integers(len(names)))]](rng, side)
    if rng.random() < 0.5:
        # A second, weaker texture makes the first one less regular.
        texture = 0.7 * texture + 0.3 * _noise(rng, side)
    first = rng.uniform(20, 235, 3)
    second = (first + rng.uniform(-90, 90, 3)).clip(0, 255)
    grain = rng.random((side, side), dtype=np.float32) * (2 * _GRAIN) - _GRAIN
    start, change = first.astype(np.float32), (second - first).astype(np.float32)
    return (start + texture[..., None] * change + grain[..., None]).clip(0, 255)


def _noise(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    cells = int(rng.integers(_COARSEST, _FINEST))
    grid = Image.fromarray(rng.integers(0, 256, (cells, cells), dtype=np.uint8))
    return np.asarray(grid.resize((side, side), Image.Resampling.BICUBIC), dtype=np.float32) * np.float32(1 / 255)


def _gradient(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    along = _along(rng, side)
    return (along - along.min()) * np.float32(1 / np.ptp(along))


def _stripes(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    period = rng.uniform(6, 40)
    wave = np.sin(_along(rng, side) * np.float32(2 * math.pi / period) + np.float32(rng.uniform(0, 6)))
    # A steeper wave looks like stripes with clear borders.
    return (wave * np.float32(rng.uniform(0.5, 2))).clip(-1, 1) * np.float32(0.5) + np.float32(0.5)


def _checks(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    period = np.float32(2 * math.pi / rng.uniform(14, 50))
    waves = np.sin(_along(rng, side) * period) * np.sin(_along(rng, side) * period)
    return (2 * waves).clip(-1, 1) * np.float32(0.5) + np.float32(0.5)


def _along(rng: np.random.Generator, side: int) -> NDArray[np.float32]:
    """Return the position of every pixel along a random direction, pixels."""
    angle = rng.uniform(0, 2 * math.pi)
    positions = np.arange(side, dtype=np.float32)
    return positions[None, :] * np.float32(math.cos(angle)) + positions[:, None] * np.float32(math.sin(angle))


_TEXTURES: Mapping[str, Callable[[np.random.Generator, int], NDArray[np.float32]]] = {
    "checks": _checks,
    "gradient": _gradient,
    "noise": _noise,
    "stripes": _stripes,
}
