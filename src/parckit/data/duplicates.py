"""Boxes that show one object twice."""

from collections.abc import Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

DUPLICATE_IOU = 0.95
"""Two boxes of a class whose IoU is larger show one object; no two objects overlap so much."""

NEAR_DUPLICATE_IOU = 0.8
"""Two boxes of a class whose IoU is larger probably show one object, such as a box that was shifted by 2 pixels. In
crowded pictures they may show two objects, so both stay."""

_PAIRS = 1_000_000
"""Pairs of boxes that are compared at once; they take about 100 MB."""


class Overlap(NamedTuple):
    """Two boxes of one class in one picture that overlap.

    Attributes:
        first: index of one box.
        second: index of the other box, which is larger than `first`.
        iou: intersection over union.
    """

    first: int
    second: int
    iou: float


def find_repeated(boxes: NDArray[np.floating], *, groups: NDArray[np.int64]) -> NDArray[np.intp]:
    """Return for every box the index of the first box of its group with the same coordinates: often its own index.

    Shape:
        boxes: (N, 4)
        groups: (N,)
        returned: (N,)
    """
    # Sorting is stable, so the first of equal boxes comes first.
    order = np.lexsort((*boxes.T, groups))
    is_new = np.ones(len(order), dtype=np.bool_)
    is_new[1:] = (np.diff(boxes[order], axis=0) != 0).any(axis=1) | (np.diff(groups[order]) != 0)
    starts = np.maximum.accumulate(np.where(is_new, np.arange(len(order)), 0))
    first = np.empty_like(order)
    first[order] = order[starts]
    return first


def find_overlaps(boxes: NDArray[np.floating], *, groups: NDArray[np.int64], smallest_iou: float) -> list[Overlap]:
    """Return all pairs of boxes of a group whose IoU is larger than `smallest_iou`, ordered by the second box.

    The boxes of a group are sorted by their left edges. Two boxes can only overlap so much if their left edges are
    close, so a box is compared with few others.

    Args:
        boxes: (left, top, right, bottom), none of them empty.
        groups: boxes with the same number are compared.
        smallest_iou: the threshold, in (0, 1).

    Shape:
        boxes: (N, 4)
        groups: (N,)
    """
    overlaps: list[Overlap] = []
    order = np.lexsort((boxes[:, 0], groups))
    coordinates = boxes[order].astype(np.float64)
    ends = _window_ends(coordinates, groups[order], smallest_iou=smallest_iou)
    for first, second in _pairs(ends):
        iou = _paired_iou(coordinates[first], coordinates[second])
        for index in np.flatnonzero(iou > smallest_iou).tolist():
            pair = sorted((int(order[first[index]]), int(order[second[index]])))
            overlaps.append(Overlap(pair[0], pair[1], float(iou[index])))
    return sorted(overlaps, key=lambda overlap: (overlap.second, overlap.first))


def _window_ends(boxes: NDArray[np.float64], groups: NDArray[np.int64], *, smallest_iou: float) -> NDArray[np.intp]:
    """Return for every sorted box where the boxes end that can overlap it enough.

    The union of two boxes is at least as wide as the distance of their left edges plus their common width. So the
    distance is less than (1 - t) / t times the width of either box, where t is the threshold.
    """
    reach = (boxes[:, 2] - boxes[:, 0]) * (1 - smallest_iou) / smallest_iou
    # Groups are laid side by side on one axis, so that one search serves all of them.
    span = float(np.ptp(boxes[:, 0]) + 1) if len(boxes) else 1.0
    _, places = np.unique(groups, return_inverse=True)
    shifted = boxes[:, 0] - (boxes[:, 0].min() if len(boxes) else 0) + places * (2 * span)
    return np.searchsorted(shifted, shifted + np.minimum(reach, span), side="right")


def _pairs(ends: NDArray[np.intp]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield the indices of the boxes to compare, in pieces of a bounded size."""
    counts = ends - np.arange(len(ends)) - 1
    pieces = (np.cumsum(counts) // _PAIRS).tolist()
    edges = [0, *(np.flatnonzero(np.diff(pieces)) + 1).tolist(), len(ends)]
    for start, end in pairwise(edges):
        lengths = counts[start:end]
        first = np.repeat(np.arange(start, end), lengths)
        offsets = np.arange(len(first)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        yield first, first + offsets + 1


def _paired_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the intersection over union of every box with the box in the same row."""
    sides = np.minimum(first[:, 2:], second[:, 2:]) - np.maximum(first[:, :2], second[:, :2])
    shared = sides.clip(min=0).prod(axis=1)
    areas = [(boxes[:, 2:] - boxes[:, :2]).prod(axis=1) for boxes in (first, second)]
    return shared / (areas[0] + areas[1] - shared)
