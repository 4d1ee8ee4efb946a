"""Finds what is wrong with the boxes of a source: faults of files, boxes and classes, split by split."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, printable
from parckit.data.box_faults import BoxFault, describe_faults
from parckit.data.box_table import BoxTable, StoredBoxes
from parckit.data.boxes import box_splits, read_boxes
from parckit.data.checking import Finding

_MOST_CLASSES = 6
"""A line counts the boxes of every class if there are no more classes than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxReport:
    """What training and evaluation see of a source, and what is wrong with it.

    Attributes:
        lines: what they see, in words.
        problems: what is wrong.
        pictures: number of pictures that were checked.
    """

    lines: tuple[str, ...]
    problems: tuple[Finding, ...]
    pictures: int


def check_boxes(source: str) -> BoxReport:
    """Check all splits of a source. Pictures are not decoded: only their headers are read.

    Raises:
        InputError: if the source is of no accepted kind, or none of its splits can be used.
    """
    lines: list[str] = []
    problems: list[Finding] = []
    entries: list[BoxFault] = []
    split_of: dict[str, str] = {}
    count = 0
    for split in box_splits(source):
        try:
            table = read_boxes(source, split=split, masks=None)
        except InputError as error:
            problems.append(Finding(path=Path(source), problem="refused", detail=str(error)))
            continue
        lines += [f"{split}: {_count(table)}", f"{split}: {_describe_sizes(table)}"]
        entries += table.faults
        problems += _across_splits(table, split=split, split_of=split_of)
        problems += _empty_classes(table, source=source) if split == "train" else []
        count += len(table.targets)
    if not lines:
        raise InputError(problems[0].detail)
    lines.append(f"faults: {describe_faults(tuple(entries))}")
    # Pictures without objects are counted above; many sources have them on purpose.
    problems += [
        Finding(path=Path(fault.file), problem=fault.kind, detail=fault.detail)
        for fault in entries
        if fault.kind != "background"
    ]
    return BoxReport(lines=tuple(lines), problems=tuple(problems), pictures=count)


def _count(table: BoxTable) -> str:
    """Return the number of pictures and boxes, the part of the source and the boxes of the classes."""
    counts = class_counts(table)
    if len(counts) <= _MOST_CLASSES:
        spread = ", ".join(f"{label} {count}" for label, count in zip(table.labels, counts, strict=True))
    else:
        spread = f"{min(counts)} to {max(counts)} per class"
    return f"{len(table.targets)} pictures, {sum(counts)} boxes, {table.served} ({printable(spread)})"


def class_counts(table: BoxTable) -> list[int]:
    """Return the number of boxes of every class. `digit_scenes` has to draw its pictures for that."""
    labels = _columns(table)[1]
    return np.bincount(labels, minlength=len(table.labels)).tolist()


def _columns(table: BoxTable) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.int64]]:
    """Return boxes and class indices of all pictures, and the number of objects of every picture."""
    targets = table.targets
    if isinstance(targets, StoredBoxes):
        return targets.boxes, targets.labels, np.diff(targets.starts)
    objects = [targets[index] for index in range(len(targets))]
    boxes = np.concatenate([entry.boxes.numpy() for entry in objects])
    labels = np.concatenate([entry.labels.numpy() for entry in objects])
    return boxes, labels, np.array([len(entry.labels) for entry in objects])


def _describe_sizes(table: BoxTable) -> str:
    boxes, _, numbers = _columns(table)
    if not len(boxes):
        return "no boxes"
    sides = np.sqrt((boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1]))
    low, middle, high = np.percentile(sides, (5, 50, 95)).tolist()
    empty = int((numbers == 0).sum())
    return (
        f"{numbers.min()} to {numbers.max()} boxes in a picture, {empty} pictures without; side of a box (square root"
        f" of its area): {low:.0f} px (5 %), {middle:.0f} px (median), {high:.0f} px (95 %)"
    )


def _across_splits(table: BoxTable, *, split: str, split_of: dict[str, str]) -> list[Finding]:
    """Return the pictures that are in another split too, and note those of this split."""
    names = [table.name(index) for index in range(len(table.targets))]
    repeated = [name for name in names if name in split_of]
    problems = [
        Finding(path=Path(name), problem="in two splits", detail=f"{split_of[name]} and {split}") for name in repeated
    ]
    split_of.update(dict.fromkeys(names, split))
    return problems


def _empty_classes(table: BoxTable, *, source: str) -> list[Finding]:
    counts = zip(table.labels, class_counts(table), strict=True)
    empty = [label for label, count in counts if not count]
    return [
        Finding(path=Path(source), problem="empty class", detail=f"train has no box of {label!r}") for label in empty
    ]
