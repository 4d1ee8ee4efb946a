"""The prior boxes of SSD (arXiv:1512.02325, section 2.2), and the offsets from a prior to a box.

Training matches ground truth with the same priors with which an answer is decoded. A prior is (centre x, centre y,
width, height) as a share of the image's width and height.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from math import ceil, sqrt

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError

CENTRE_VARIANCE = 0.1
"""A centre that is off by a whole prior has the offset 1 / 0.1. SSD scales offsets so that their spread is about 1."""
SIZE_VARIANCE = 0.2
"""The same for the logarithm of the size."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorSettings:
    """The priors of a network's maps.

    At every position of map number l lie: a square of `scales[l]`; a square of the geometric mean of `scales[l]` and
    `scales[l + 1]`; and for every aspect ratio of the map a wide and a tall box of the area of the first square.

    Attributes:
        strides: pixels of the image per position, for every map; 0 stands for a map of one position.
        scales: sides of the squares as a share of the image's side; one more than there are maps.
        ratios: aspect ratios of every map, larger than 0.

    Raises:
        InputError: if the numbers do not fit together, or one is out of range.
    """

    strides: Sequence[int]
    scales: Sequence[float]
    ratios: Sequence[Sequence[float]]

    def __post_init__(self) -> None:
        maps = len(self.strides)
        if not maps or len(self.ratios) != maps or len(self.scales) != maps + 1:
            sizes = f"{len(self.scales)} scales and {len(self.ratios)} lists of ratios for {maps} strides"
            raise InputError(f"priors: {sizes}; needed are a list of ratios for every stride, and one scale more")
        if min(self.strides) < 0 or min(self.scales) <= 0 or any(ratio <= 0 for row in self.ratios for ratio in row):
            raise InputError(f"priors: strides {self.strides} must be 0 or more, scales and ratios larger than 0")

    @property
    def per_position(self) -> tuple[int, ...]:
        """Number of priors at a position of every map."""
        return tuple(2 + 2 * len(row) for row in self.ratios)

    @property
    def shapes(self) -> tuple[tuple[tuple[float, float], ...], ...]:
        """(width, height) of the priors at a position of every map, as shares of the image's sides."""
        shapes: list[tuple[tuple[float, float], ...]] = []
        for scale, following, aspects in zip(self.scales, self.scales[1:], self.ratios, strict=False):
            middle = sqrt(scale * following)
            of_map = [(scale, scale), (middle, middle)]
            for aspect in aspects:
                root = sqrt(aspect)
                of_map += [(scale * root, scale / root), (scale / root, scale * root)]
            shapes.append(tuple(of_map))
        return tuple(shapes)

    def map_sizes(self, size: tuple[int, int]) -> list[tuple[int, int]]:
        """Return (height, width) of the maps for an image of `size` (height, width), pixels."""
        return [(ceil(size[0] / stride), ceil(size[1] / stride)) if stride else (1, 1) for stride in self.strides]

    def priors(self, size: tuple[int, int]) -> NDArray[np.float32]:
        """Return the priors of all maps for an image of `size` (height, width), pixels.

        The order is map, row, column, prior. Every number is at most 1, as in the official code: a prior may be as wide
        as the image, not wider.

        Shape:
            (N, 4)
        """
        return _priors(tuple(self.map_sizes(size)), self.shapes)


@lru_cache(maxsize=32)
def _priors(
    maps: tuple[tuple[int, int], ...], shapes: tuple[tuple[tuple[float, float], ...], ...]
) -> NDArray[np.float32]:
    parts: list[NDArray[np.float64]] = []
    for (height, width), sizes in zip(maps, shapes, strict=True):
        y, x = np.meshgrid((np.arange(height) + 0.5) / height, (np.arange(width) + 0.5) / width, indexing="ij")
        centres = np.stack([x, y], axis=-1).reshape(-1, 1, 2)
        boxes = np.concatenate(
            [
                np.broadcast_to(centres, (height * width, len(sizes), 2)),
                np.broadcast_to(np.array(sizes), (height * width, len(sizes), 2)),
            ],
            axis=-1,
        )
        parts.append(boxes.reshape(-1, 4))
    priors = np.concatenate(parts).clip(0, 1).astype(np.float32)
    priors.setflags(write=False)  # all callers share it
    return priors


LARGEST_OFFSET = 100.0
"""With it, a box is e^20 times as wide as its prior, and lies 10 widths away from it."""


def decode_offsets(offsets: NDArray[np.floating], priors: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the boxes that lie at offsets from priors, as (left, top, right, bottom) shares of the image's sides.

    Offsets beyond `LARGEST_OFFSET` are set to it, because exp would overflow. Only untrained networks give them.

    Shape:
        (N, 4), (N, 4) -> (N, 4)
    """
    offsets = offsets.clip(-LARGEST_OFFSET, LARGEST_OFFSET)
    centres = offsets[:, :2] * CENTRE_VARIANCE * priors[:, 2:] + priors[:, :2]
    half = np.exp(offsets[:, 2:] * SIZE_VARIANCE) * priors[:, 2:] / 2
    return np.concatenate([centres - half, centres + half], axis=1)
