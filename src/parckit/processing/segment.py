"""Segmentation: from maps of logits to the class of every pixel."""

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Task
from parckit.processing.geometry import Geometry
from parckit.processing.mask_prediction import IGNORED, MaskPrediction

SEGMENT = "segment"
"""Name of the decoder of logits."""
CLASS_MAP = "class_map"
"""Name of the decoder of class numbers, for graphs with resizing and argmax inside."""
_BAND_PIXELS = 2**15
"""Pixels of a plane that are computed at once: 128 KB of float32, which stay in a processor's cache."""


class SegmentDecoder:
    """Turns maps of logits into the class of every pixel.

    The logits are resized bilinearly to the input's size, as `torch.nn.functional.interpolate` does with
    `align_corners=False`. The class with the largest logit wins, of equal ones the first.

    Args:
        labels: class names by index.
    """

    task: ClassVar[Task] = "segment"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[MaskPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the logits alone.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if there are not as many maps as classes, or a number is not finite.

        Shape:
            outputs: one array, (B, classes, h, w)
        """
        logits = read_maps(outputs, classes=len(self._labels))
        pairs = zip(logits, geometries, strict=True)
        return [
            to_prediction(best_classes(maps, geometry.input_size), geometry, self._labels) for maps, geometry in pairs
        ]


class ClassMapDecoder:
    """Brings maps of class numbers to the pictures.

    Args:
        labels: class names by index.
    """

    task: ClassVar[Task] = "segment"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[MaskPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the class numbers alone.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if the output has another shape or type, or a number is that of no class.

        Shape:
            outputs: one array, (B, H, W) uint8, of the input's size
        """
        (classes,) = outputs
        if classes.ndim != 3 or classes.dtype != np.uint8:
            raise InputError(f"outputs of shape {classes.shape} and type {classes.dtype}: must be (B, H, W) uint8")
        if (largest := int(classes.max(initial=0))) >= len(self._labels):
            raise InputError(f"outputs: have the class number {largest}; the largest is {len(self._labels) - 1}")
        pairs = zip(classes.astype(np.uint8, copy=False), geometries, strict=True)
        return [to_prediction(numbers, geometry, self._labels) for numbers, geometry in pairs]


def read_maps(outputs: Sequence[NDArray[np.generic]], *, classes: int) -> NDArray[np.float32]:
    """Return the only output of a network that segments.

    Raises:
        InputError: if there are not as many maps as classes, or a number is not finite.

    Shape:
        outputs: one array, (B, classes, h, w) -> (B, classes, h, w)
    """
    (logits,) = outputs
    if logits.ndim != 4 or logits.shape[1] != classes or 0 in logits.shape[2:]:
        raise InputError(f"outputs of shape {logits.shape}: must be (B, {classes}, h, w), a map a class")
    if not np.isfinite(logits).all():
        raise InputError("the network's outputs are not finite numbers (nan or inf)")
    return logits.astype(np.float32, copy=False)


def to_prediction(classes: NDArray[np.uint8], geometry: Geometry, labels: tuple[str, ...]) -> MaskPrediction:
    """Bring class numbers to the picture.

    Shape:
        classes: (H, W) of the input
    """
    return MaskPrediction(mask=geometry.mask_to_picture(classes, outside=IGNORED), names=labels)


def best_classes(maps: NDArray[np.float32], size: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize maps bilinearly, and return the class with the largest value at every pixel; of equal ones, the first.

    Args:
        maps: a map for every class.
        size: (height, width) to resize to.

    Shape:
        (classes, h, w) -> (height, width)
    """
    winners = np.zeros(size, np.uint8)
    for first, last, planes in resize_in_bands(maps, size):
        running_argmax(planes, out=winners[first:last])
    return winners


def running_argmax(planes: Iterable[NDArray[np.float32]], *, out: NDArray[np.uint8]) -> None:
    """Write the number of the plane with the largest value at every pixel; of equal ones, the first.

    It needs one plane at a time; all planes of a picture's size would not stay in the cache.

    Shape:
        planes: (H, W) each
        out: (H, W)
    """
    best = np.full(out.shape, -np.inf, np.float32)
    is_better = np.empty(out.shape, np.bool_)
    for number, plane in enumerate(planes):
        np.greater(plane, best, out=is_better)
        np.copyto(out, np.uint8(number), where=is_better)
        np.maximum(plane, best, out=best)


def resize_in_bands(
    maps: NDArray[np.float32], size: tuple[int, int]
) -> Iterator[tuple[int, int, Iterator[NDArray[np.float32]]]]:
    """Resize maps bilinearly, some rows at a time.

    Yields:
        First row, last row + 1, and the rows of all maps between, one map after the other. A map's array is valid until
        the next one is taken.

    Shape:
        (classes, h, w) -> (last - first, width) for each map and band
    """
    height, width = size
    down, across = _weights(maps.shape[1], height), _weights(maps.shape[2], width)
    wide = maps @ across.T
    rows = max(1, _BAND_PIXELS // width)
    for first in range(0, height, rows):
        last = min(first + rows, height)
        # Only few rows of the maps lie under the band.
        used = np.flatnonzero(down[first:last].any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        share = np.ascontiguousarray(down[first:last, start:stop])
        plane = np.empty((last - first, width), np.float32)
        yield first, last, (np.matmul(share, wide[number, start:stop], out=plane) for number in range(len(maps)))


@lru_cache(maxsize=16)
def _weights(length: int, wanted: int) -> NDArray[np.float32]:
    """Return the matrix that resizes an axis linearly.

    Shape:
        (wanted, length)
    """
    before, after, share = linear_places(length, wanted)
    matrix, rows = np.zeros((wanted, length), np.float32), np.arange(wanted)
    matrix[rows, before] = 1 - share
    # At the end of the axis, both are the same pixel.
    matrix[rows, after] += share
    return matrix


def linear_places(length: int, wanted: int) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return how an axis is resized linearly; the outer borders of its first and last pixel stay where they are.

    Args:
        length: pixels of the axis.
        wanted: pixels of the resized axis.

    Returns:
        For every pixel of the resized axis, the pixels before and after it, and the share of the latter.

    Shape:
        (wanted,) each
    """
    places = ((np.arange(wanted) + 0.5) * (length / wanted) - 0.5).clip(0, length - 1)
    before = places.astype(np.int64)
    return before, (before + 1).clip(max=length - 1), (places - before).astype(np.float32)
