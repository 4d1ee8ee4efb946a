"""Linear interpolation of maps.

A place along an axis of a map is a number of pixels from the axis' begin: the first pixel reaches from 0 to 1, and its
middle lies at 0.5. Between the middles of two pixels, values change linearly. Before the first middle and behind the
last one, they stay the same. `torch.nn.functional.interpolate` with `align_corners=False` computes the same.
"""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

_BAND_PIXELS = 2**15
"""Pixels of a plane that are computed at once: 128 KB of float32, which stay in a processor's cache."""


def resized_places(length: int, wanted: int) -> NDArray[np.float64]:
    """Return where the middles of `wanted` pixels lie along an axis of `length` pixels that is resized to them.

    Shape:
        (wanted,)
    """
    return (np.arange(wanted, dtype=np.float64) + 0.5) * (length / wanted)


def neighbours(
    places: NDArray[np.float64], length: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.float32]]:
    """Return the pixels whose middles lie before and after places along an axis, and the share of the latter.

    Args:
        places: along the axis.
        length: pixels of the axis.

    Shape:
        (places,) each
    """
    middles = (places - 0.5).clip(0, length - 1)
    before = middles.astype(np.int64)
    return before, (before + 1).clip(max=length - 1), (middles - before).astype(np.float32)


def interpolate(values: NDArray[np.float32], places: NDArray[np.float64], *, axis: int) -> NDArray[np.float32]:
    """Return the values at places along an axis."""
    before, after, share = neighbours(places, values.shape[axis])
    share = np.expand_dims(share, tuple(range(1, values.ndim - axis)))
    between = values.take(before, axis) * (1 - share) + values.take(after, axis) * share
    return between.astype(np.float32, copy=False)


def interpolate_in_bands(
    maps: NDArray[np.float32], *, rows: NDArray[np.float64], columns: NDArray[np.float64]
) -> Iterator[tuple[int, int, Iterator[NDArray[np.float32]]]]:
    """Interpolate maps at a grid of places, some of its rows at a time.

    Args:
        maps: a map for every class.
        rows: places along the height, ascending.
        columns: places along the width.

    Yields:
        First row of the grid, last row + 1, and the values of all maps there, one map after the other. A map's array is
        valid until the next one is taken.

    Shape:
        (classes, h, w) -> (last - first, columns) for each map and band
    """
    down, across = _weights(rows, maps.shape[1]), _weights(columns, maps.shape[2])
    wide = maps @ across.T
    step = max(1, _BAND_PIXELS // len(columns))
    for first in range(0, len(rows), step):
        last = min(first + step, len(rows))
        # Only few rows of the maps lie under the band.
        used = np.flatnonzero(down[first:last].any(axis=0))
        start, stop = int(used[0]), int(used[-1]) + 1
        share = np.ascontiguousarray(down[first:last, start:stop])
        plane = np.empty((last - first, len(columns)), np.float32)
        yield first, last, (np.matmul(share, wide[number, start:stop], out=plane) for number in range(len(maps)))


def _weights(places: NDArray[np.float64], length: int) -> NDArray[np.float32]:
    """Return the matrix that interpolates an axis of a length at places.

    Shape:
        (places, length)
    """
    before, after, share = neighbours(places, length)
    matrix, lines = np.zeros((len(places), length), np.float32), np.arange(len(places))
    matrix[lines, before] = 1 - share
    # At the end of the axis, both are the same pixel.
    matrix[lines, after] += share
    return matrix
