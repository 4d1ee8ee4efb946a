"""Boxes in numpy: overlap, and the suppression of boxes that show the same object.

All boxes are rows (left, top, right, bottom) in any unit, unless a function says otherwise.
"""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Suppress = Callable[[NDArray[np.floating], NDArray[np.floating], float], NDArray[np.integer]]
"""Boxes (N, 4), their scores (N,) and the largest accepted IoU -> indices of the boxes that stay, the best first."""

_BLOCK = 128
"""Boxes whose overlaps are computed at once in `suppress`: enough for numpy to be fast, few enough for small arrays."""


def box_areas(boxes: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the areas of boxes.

    Shape:
        (N, 4) -> (N,)
    """
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def box_iou(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the intersection over union of every box of `first` with every box of `second`; 0 if both are empty.

    Shape:
        (N, 4), (M, 4) -> (N, M)
    """
    shared = intersections(first, second)
    union = box_areas(first)[:, None] + box_areas(second)[None, :] - shared
    return np.divide(shared, union, out=np.zeros_like(shared), where=union > 0)


def intersections(first: NDArray[np.floating], second: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the area that every box of `first` shares with every box of `second`.

    Shape:
        (N, 4), (M, 4) -> (N, M)
    """
    width = np.minimum(first[:, None, 2], second[None, :, 2]) - np.maximum(first[:, None, 0], second[None, :, 0])
    height = np.minimum(first[:, None, 3], second[None, :, 3]) - np.maximum(first[:, None, 1], second[None, :, 1])
    return width.clip(min=0) * height.clip(min=0)


def suppress(boxes: NDArray[np.floating], scores: NDArray[np.floating], overlap: float) -> NDArray[np.intp]:
    """Return the boxes that stay after greedy non-maximum suppression, as torchvision's `nms` does.

    The best box stays. Every box that overlaps it too much is dropped. The best of the other boxes stays, and so on.
    Boxes of equal score keep their order.

    Args:
        boxes: the boxes of one class in one picture.
        scores: how good they are.
        overlap: a box is dropped if its intersection over union with a better box that stays is larger than this.

    Returns:
        The indices of the boxes that stay, the best first.

    Shape:
        boxes: (N, 4)
        scores: (N,)
        returned: (K,)
    """
    order = np.argsort(-scores, kind="stable")
    kept: list[NDArray[np.intp]] = []
    while order.size:
        # Greedy inside a block of the best boxes that are left.
        block, order = order[:_BLOCK], order[_BLOCK:]
        excludes = np.triu(box_iou(boxes[block], boxes[block]) > overlap, 1)
        stays = np.ones(len(block), dtype=np.bool_)
        for index in np.flatnonzero(excludes.any(axis=1)).tolist():
            if stays[index]:
                stays &= ~excludes[index]
        block = block[stays]
        kept.append(block)
        # Drop all later boxes that overlap a box of the block.
        if order.size:
            order = order[~(box_iou(boxes[block], boxes[order]) > overlap).any(axis=0)]
    return np.concatenate(kept) if kept else order


def suppress_by_class(
    boxes: NDArray[np.floating],
    scores: NDArray[np.floating],
    *,
    threshold: float,
    overlap: float,
    per_class: int,
    suppress: Suppress = suppress,
) -> tuple[NDArray[np.intp], NDArray[np.int64]]:
    """Suppress the boxes of every class by themselves.

    Args:
        boxes: the boxes.
        scores: the score of every box for every class.
        threshold: a box is of a class if its score is larger.
        overlap: see `suppress`.
        per_class: most boxes of a class.
        suppress: suppresses the boxes of one class.

    Returns:
        The indices of the boxes that stay, and their classes: the first class first, its best box first. A box can stay
        for several classes.

    Shape:
        boxes: (N, 4)
        scores: (N, classes)
        returned: (K,), (K,)
    """
    indices: list[NDArray[np.intp]] = [np.empty(0, dtype=np.intp)]
    classes: list[NDArray[np.int64]] = [np.empty(0, dtype=np.int64)]
    for label in np.flatnonzero((scores > threshold).any(axis=0)).tolist():
        of_class = np.flatnonzero(scores[:, label] > threshold)
        kept = suppress(boxes[of_class], scores[of_class, label], overlap)[:per_class]
        indices.append(of_class[kept])
        classes.append(np.full(len(kept), label, dtype=np.int64))
    return np.concatenate(indices), np.concatenate(classes)
