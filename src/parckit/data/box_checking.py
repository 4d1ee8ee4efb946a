"""Finds what is wrong with the boxes of a source: faults of files, boxes and classes, split by split.

`parckit.data.checking` finds what is wrong with the pixels of its pictures.
"""

from collections.abc import Container, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, printable
from parckit.data.box_faults import BoxFault, describe_faults
from parckit.data.box_table import BoxFiles, BoxTable, StoredBoxes
from parckit.data.boxes import read_splits
from parckit.data.checking import Finding
from parckit.data.checklist import Member
from parckit.data.mask_table import MaskTable

_MOST_CLASSES = 6
"""A line counts the boxes of every class if there are no more classes than this."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxReport:
    """What training and evaluation see of a source, and what is wrong with it.

    Attributes:
        lines: what they see, in words.
        problems: what is wrong.
        pictures: number of pictures that were checked.
        files: the picture files, for `parckit.data.checking.inspect`; a picture in two splits comes once.
    """

    lines: tuple[str, ...]
    problems: tuple[Finding, ...]
    pictures: int
    files: tuple[Member, ...]


def check_boxes(source: str) -> BoxReport:
    """Check all splits of a source. Pictures are not decoded: only their headers are read.

    Args:
        source: the source.

    Raises:
        InputError: if the source is of no accepted kind, or none of its splits can be used.
    """
    lines: list[str] = []
    problems: list[Finding] = []
    entries: list[BoxFault] = []
    split_of: dict[str, str] = {}
    files: list[Member] = []
    count = 0
    for split, read in read_splits(source).items():
        try:
            table = read(None)
        except InputError as error:
            problems.append(Finding(path=Path(source), problem="refused", detail=str(error)))
            continue
        columns = _columns(table)
        lines += [f"{split}: {_count(table, columns)}", f"{split}: {_describe_sizes(columns)}"]
        entries += table.faults
        files += new_files(table, split=split, known=split_of)
        problems += across_splits(table, split=split, split_of=split_of)
        problems += _empty_classes(table, columns, source=source) if split == "train" else []
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
    return BoxReport(lines=tuple(lines), problems=tuple(problems), pictures=count, files=tuple(files))


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


def across_splits(table: BoxTable | MaskTable, *, split: str, split_of: dict[str, str]) -> list[Finding]:
    """Return the pictures that are in another split too, and note those of this split."""
    names = [table.name(index) for index in range(len(table.targets))]
    repeated = [name for name in names if name in split_of]
    problems = [
        Finding(path=Path(name), problem="in two splits", detail=f"{split_of[name]} and {split}") for name in repeated
    ]
    split_of.update(dict.fromkeys(names, split))
    return problems


def new_files(table: BoxTable | MaskTable, *, split: str, known: Container[str]) -> Iterator[Member]:
    """Yield the picture files that no split before this one has. Pictures that are drawn have no files."""
    if isinstance(table.pictures, BoxFiles):
        names = (table.name(index) for index in range(len(table.targets)))
        paths = (Path(name) for name in names if name not in known)
        yield from (Member(path=path, read=path.read_bytes, split=split) for path in paths)


def _empty_classes(table: BoxTable, columns: _Columns, *, source: str) -> list[Finding]:
    counts = zip(table.labels, columns.per_class, strict=True)
    empty = [label for label, count in counts if not count]
    return [
        Finding(path=Path(source), problem="empty class", detail=f"train has no box of {label!r}") for label in empty
    ]
