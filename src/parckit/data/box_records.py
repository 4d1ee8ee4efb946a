"""The boxes of a split as the file of a format gives them, before anything is checked."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.faults import Fault, FaultKind
from parckit.data.segments import Segment
from parckit.data.splits import Named
from parckit.processing.listing import list_folder

BoxFormat = Literal["coco", "voc", "yolo"]


class NotedFault(NamedTuple):
    """A fault that a reader met.

    Attributes:
        picture: index of the picture that it belongs to; None if it belongs to no picture.
        fault: the fault.
    """

    picture: int | None
    fault: Fault


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxRecords:
    """Pictures and their boxes as a file gives them.

    Attributes:
        origin: the file or folder that an error about all boxes names.
        labels: class names by index.
        names: different names of the pictures; they decide what is held out.
        paths: files of the pictures; they may be missing.
        label_files: the file with the labels of every picture.
        sizes: width and height of the pictures as the file declares them; 0 if it does not.
        pictures: index of the picture of every box, ascending.
        boxes: (left, top, right, bottom) in pixels, or in shares of the upright picture.
        classes: class index of every box.
        crowd: whether nobody has to find an object; see `Objects`.
        segments: the masks; None if the format has none.
        areas: of the objects, in pixels or in shares of the picture; NaN where the file does not give them, and None if
            the format never does.
        is_relative: whether boxes, masks and areas are in shares of the upright picture.
        marks: where a file with the labels of many pictures has a box, in words; None if every picture has a file.
        faults: what the reader met.

    Shape:
        sizes: (P, 2)
        boxes: (N, 4)
        pictures, classes, crowd, areas: (N,)
    """

    origin: str
    labels: tuple[str, ...]
    names: list[str]
    paths: list[str]
    label_files: list[str]
    sizes: NDArray[np.int64]
    pictures: NDArray[np.int64]
    boxes: NDArray[np.float64]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    segments: Sequence[Segment | None] | None = None
    areas: NDArray[np.float64] | None = None
    is_relative: bool = False
    marks: Sequence[str] | None = None
    faults: list[NotedFault] = field(default_factory=list[NotedFault])


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxLayout:
    """Which splits a source has, and how they are read.

    Attributes:
        format: the format of the labels.
        present: the splits that the source has.
        read: reads the labels of one of them.
    """

    format: BoxFormat
    present: tuple[Named, ...]
    read: Callable[[Named], BoxRecords]


def list_files(folder: Path, *, ending: str) -> list[Path]:
    """Return the files of a folder with an ending, sorted, without hidden ones; nothing if there is no such folder."""
    if not folder.is_dir():
        return []
    names = list_folder(str(folder), left_out=[]).files
    return [folder / name for name in names if name.lower().endswith(ending)]


def read_text(path: Path) -> str:
    """Return the text of a file.

    Raises:
        InputError: if it cannot be read as UTF-8.
    """
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text in UTF-8 ({error})") from error


def select_pictures(records: BoxRecords, kept: Collection[int]) -> BoxRecords:
    """Return some of the pictures, with their boxes and faults. Faults that belong to no picture stay."""
    indices = sorted(kept)
    position = np.full(len(records.names), -1, dtype=np.int64)
    position[indices] = np.arange(len(indices))
    boxes = np.flatnonzero(position[records.pictures] >= 0)
    faults = [
        NotedFault(None if noted.picture is None else int(position[noted.picture]), noted.fault)
        for noted in records.faults
        if noted.picture is None or position[noted.picture] >= 0
    ]
    return BoxRecords(
        origin=records.origin,
        labels=records.labels,
        names=[records.names[index] for index in indices],
        paths=[records.paths[index] for index in indices],
        label_files=[records.label_files[index] for index in indices],
        sizes=records.sizes[indices],
        pictures=position[records.pictures[boxes]],
        boxes=records.boxes[boxes],
        classes=records.classes[boxes],
        crowd=records.crowd[boxes],
        segments=None if records.segments is None else [records.segments[index] for index in boxes.tolist()],
        areas=None if records.areas is None else records.areas[boxes],
        is_relative=records.is_relative,
        marks=None if records.marks is None else [records.marks[int(index)] for index in boxes],
        faults=faults,
    )


def join_records(parts: Sequence[BoxRecords], *, origin: str) -> BoxRecords:
    """Return the pictures of several splits of a source. Classes are joined by their names.

    A picture that is in two splits comes once, with the boxes of the first.
    """
    known: set[str] = set()
    unique: list[BoxRecords] = []
    repeated: list[NotedFault] = []
    for part in parts:
        again = [index for index, path in enumerate(part.paths) if path in known]
        for index in again:
            detail = f"{part.origin} lists it again"
            repeated.append(NotedFault(None, Fault("in two splits", part.paths[index], detail)))
        unique.append(select_pictures(part, {*range(len(part.paths))}.difference(again)) if again else part)
        known.update(part.paths)
    joined = _concatenate(unique, origin=origin)
    return replace(joined, faults=joined.faults + repeated)


def _concatenate(parts: Sequence[BoxRecords], *, origin: str) -> BoxRecords:
    labels = tuple(dict.fromkeys(label for part in parts for label in part.labels))
    index_of = {label: index for index, label in enumerate(labels)}
    starts = np.cumsum([0, *(len(part.names) for part in parts)]).tolist()
    classes = [np.array([index_of[label] for label in part.labels], dtype=np.int64)[part.classes] for part in parts]
    # The parts are of one format, so all of them have areas, or none has.
    areas = [part.areas for part in parts if part.areas is not None]
    segments = [segment for part in parts for segment in part.segments or [None] * len(part.boxes)]
    return BoxRecords(
        origin=origin,
        labels=labels,
        names=[name for part in parts for name in part.names],
        paths=[path for part in parts for path in part.paths],
        label_files=[file for part in parts for file in part.label_files],
        sizes=np.concatenate([part.sizes for part in parts]),
        pictures=np.concatenate([part.pictures + start for part, start in zip(parts, starts[:-1], strict=True)]),
        boxes=np.concatenate([part.boxes for part in parts]),
        classes=np.concatenate(classes),
        crowd=np.concatenate([part.crowd for part in parts]),
        segments=None if all(part.segments is None for part in parts) else segments,
        areas=np.concatenate(areas) if areas else None,
        is_relative=parts[0].is_relative,
        marks=[mark for part in parts for mark in part.marks or ()] or None,
        faults=[
            NotedFault(None if noted.picture is None else noted.picture + start, noted.fault)
            for part, start in zip(parts, starts[:-1], strict=True)
            for noted in part.faults
        ],
    )


def note_fault(
    kind: FaultKind, records: BoxRecords, detail: str, *, picture: int = -1, box: int | None = None
) -> Fault:
    """Return a fault of a picture, or of a box."""
    where = ""
    if box is not None:
        picture = int(records.pictures[box])
        detail = f"{records.labels[int(records.classes[box])]}: {detail}"
        where = "" if records.marks is None else f", {records.marks[box]}"
    file = records.label_files[picture]
    if records.marks is None:
        return Fault(kind, file, detail)
    # The name of a file with the labels of all pictures would not help.
    return Fault(kind, records.paths[picture], f"{detail} ({Path(file).name}{where})")


def refuse_repeated(names: Sequence[str], *, origin: str) -> None:
    """Refuse a picture that is listed twice: it could be trained on and held out.

    Raises:
        InputError: if a name occurs twice.
    """
    known: set[str] = set()
    for name in names:
        if name in known:
            raise InputError(f"{origin}: lists the picture {name} twice")
        known.add(name)
