"""Finds what is wrong with the boxes of a source: faults of files, boxes and classes, split by split.

`parckit.data.checking` finds what is wrong with the pixels of its pictures.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parckit.contract import printable
from parckit.data.boxes import read_splits
from parckit.data.picture_table import BoxTable
from parckit.data.split_checking import SourceReport, SplitReport, check_splits
from parckit.data.splits import Named
from parckit.data.stored_boxes import StoredBoxes

_MOST_CLASSES = 6
"""A line counts the boxes of every class if there are no more classes than this."""


def check_boxes(source: str) -> SourceReport:
    """Check all splits of a source. Pictures are not decoded: only their headers are read.

    Args:
        source: the source.

    Raises:
        InputError: if the source is of no accepted kind, or none of its splits can be used.
    """
    tables: dict[Named, Callable[[], BoxTable]] = {
        split: partial(read, None) for split, read in read_splits(source).items()
    }
    return check_splits(source, tables, look=_look)


def _look(table: BoxTable) -> SplitReport:
    columns = _columns(table)
    empty = [label for label, count in zip(table.labels, columns.per_class, strict=True) if not count]
    return SplitReport(
        lines=[_count(table, columns), _describe_sizes(columns)],
        faults=table.faults,
        lacking=[("empty class", f"has no box of {label!r}") for label in empty],
    )


class _Columns(NamedTuple):
    """The objects of a table, without those that nobody has to find.

    Attributes:
        boxes: (left, top, right, bottom), pixels.
        per_class: number of objects of every class.
        per_picture: number of objects of every picture.
        ignored: number of objects that nobody has to find.
    """

    boxes: NDArray[np.float32]
    per_class: list[int]
    per_picture: NDArray[np.int64]
    ignored: int


def _columns(table: BoxTable) -> _Columns:
    """Return the objects of a table. `digit_scenes` has to draw its pictures for that, so call it once."""
    targets = table.targets
    if isinstance(targets, StoredBoxes):
        boxes, labels, crowd = targets.boxes, targets.labels, targets.crowd
        pictures = np.repeat(np.arange(len(targets)), np.diff(targets.starts))
    else:
        objects = [targets[index] for index in range(len(targets))]
        boxes = np.concatenate([entry.boxes.numpy() for entry in objects])
        labels = np.concatenate([entry.labels.numpy() for entry in objects])
        crowd = np.concatenate([entry.crowd.numpy() for entry in objects])
        pictures = np.repeat(np.arange(len(targets)), [len(entry.labels) for entry in objects])
    return _Columns(
        boxes=boxes[~crowd],
        per_class=np.bincount(labels[~crowd], minlength=len(table.labels)).tolist(),
        per_picture=np.bincount(pictures[~crowd], minlength=len(targets)),
        ignored=int(crowd.sum()),
    )


def _count(table: BoxTable, columns: _Columns) -> str:
    """Return the number of pictures and boxes, the part of the source and the boxes of the classes."""
    counts = columns.per_class
    if len(counts) <= _MOST_CLASSES:
        spread = ", ".join(f"{label} {count}" for label, count in zip(table.labels, counts, strict=True))
    else:
        spread = f"{min(counts)} to {max(counts)} per class"
    ignored = f"; {columns.ignored} crowds or difficult ones are not counted" if columns.ignored else ""
    return f"{len(table.targets)} pictures, {sum(counts)} boxes, {table.served} ({printable(spread)}){ignored}"


def _describe_sizes(columns: _Columns) -> str:
    boxes, numbers = columns.boxes, columns.per_picture
    if not len(boxes):
        return "no boxes"
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    low, middle, high = np.percentile(sides, (5, 50, 95)).tolist()
    empty = int((numbers == 0).sum())
    return (
        f"{numbers.min()} to {numbers.max()} boxes in a picture, {empty} pictures without; side of a box (square root"
        f" of its area): {low:.0f} px (5 %), {middle:.0f} px (median), {high:.0f} px (95 %)"
    )
