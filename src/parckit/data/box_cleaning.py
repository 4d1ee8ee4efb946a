"""Brings the boxes of a source into pixels of the upright pictures, and drops, cuts and counts what is faulty."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.box_records import BoxRecords, note_fault
from parckit.data.duplicates import DUPLICATE_IOU, NEAR_DUPLICATE_IOU, find_overlaps, find_repeated
from parckit.data.faults import Fault, FaultKind
from parckit.data.headers import Header
from parckit.data.segments import Segment, check_segment
from parckit.data.turning import SWAPPING, UPRIGHT, turn_boxes, upright_size

_FARTHEST = 1e9
"""Pixels. Coordinates are bounded by this, so that float32 can hold them."""

Unmasked = Literal["drop", "ignore"]
"""What happens to an object without a usable mask: it is dropped, or its box is its mask and nobody has to find it."""

_ROUNDING = 0.05
"""Pixels. A box may reach so far out of its picture without being a fault: numbers in text files are rounded."""


@dataclass(frozen=True, kw_only=True, slots=True)
class CleanBoxes:
    """Pictures that can be read, and sound boxes in their pixels.

    Attributes:
        paths: files of the pictures.
        sizes: width and height of the upright pictures.
        orientations: EXIF orientation by which masks have to be turned; 1 if they are upright.
        pictures: index of the picture of every box, ascending.
        boxes: (left, top, right, bottom), pixels of the upright picture.
        classes: class index of every box.
        crowd: whether nobody has to find an object; see `Objects`.
        segments: the masks before they are turned; None if they are not wanted.
        areas: pixels of the objects; None if the source does not give them.
        faults: everything that was wrong.

    Shape:
        sizes: (P, 2)
        orientations: (P,)
        boxes: (N, 4)
        pictures, classes, crowd, areas: (N,)
    """

    paths: list[str]
    sizes: NDArray[np.int64]
    orientations: NDArray[np.int64]
    pictures: NDArray[np.int64]
    boxes: NDArray[np.float32]
    classes: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    segments: list[Segment] | None
    areas: NDArray[np.float32] | None
    faults: tuple[Fault, ...]


def clean_boxes(
    records: BoxRecords, headers: Sequence[Header], *, masks: bool, unmasked: Unmasked = "drop"
) -> CleanBoxes:
    """Return the sound boxes of a source.

    A picture's boxes turn with it if the size that the file declares is the size of the stored picture and not that of
    the upright one. They are not turned if it is the upright size. They are not turned either if the two sizes cannot
    be told apart, because tools for drawing boxes show pictures upright: this is so for orientations that keep the
    size, for square pictures and without a declared size. Such pictures are counted as `"unclear turn"`.

    Args:
        records: what the files say, of pictures that can be read.
        headers: of these pictures.
        masks: whether masks are wanted.
        unmasked: what happens to objects without a usable mask then. `"ignore"` keeps all objects that have one,
            whatever their boxes are.

    Raises:
        InputError: if a box has numbers that are not finite, or all boxes have another unit.
    """
    _refuse_unusable(records)
    faults = [noted.fault for noted in records.faults]
    # Bring all boxes into pixels of upright pictures.
    sizes = [upright_size(header.width, header.height, orientation=header.orientation) for header in headers]
    upright = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    orientations = _turns(records, headers, faults=faults)
    boxes = _to_pixels(records, upright=upright, orientations=orientations)
    # Drop what is faulty.
    segments, is_sound = None, np.ones(len(boxes), dtype=np.bool_)
    is_painted = np.zeros(len(boxes), dtype=np.bool_)
    if masks:
        segments, is_sound = _check_masks(records, upright, orientations, unmasked=unmasked, faults=faults)
    if masks and unmasked == "ignore":
        # Boxes matter only where they stand in for masks.
        is_painted, is_sound = is_sound, ~is_sound
        records = replace(records, crowd=records.crowd | is_sound)
    rounded = _cut(boxes, records, upright=upright, is_sound=is_sound, faults=faults)
    _drop_duplicates(rounded, records, is_sound=is_sound, faults=faults)
    is_sound |= is_painted
    sound = np.flatnonzero(is_sound)
    areas = _areas(records, upright=upright, boxes=rounded)
    return CleanBoxes(
        paths=records.paths,
        sizes=upright,
        orientations=orientations,
        pictures=records.pictures[sound],
        boxes=rounded[sound],
        classes=records.classes[sound],
        crowd=records.crowd[sound],
        segments=None if segments is None else [segments[index] for index in sound.tolist()],
        areas=None if areas is None else areas[sound],
        faults=tuple(sorted(faults, key=lambda fault: fault.kind)),
    )


def _refuse_unusable(records: BoxRecords) -> None:
    """Refuse boxes that are no numbers, and a file whose boxes all have the wrong unit."""
    broken = np.flatnonzero(~np.isfinite(records.boxes).all(axis=1))
    if broken.size:
        file, box = records.label_files[int(records.pictures[broken[0]])], int(broken[0])
        subject = "a box" if records.marks is None else f"{records.marks[box]}: the box"
        raise InputError(f"{file}: {subject} has the coordinates {records.boxes[box].tolist()}; all must be finite")
    if len(records.boxes) and not records.is_relative and records.boxes.max() <= 1:
        raise InputError(
            f"{records.origin}: all coordinates of boxes are at most 1, as shares of the picture are; needs pixels"
        )


def _turns(records: BoxRecords, headers: Sequence[Header], *, faults: list[Fault]) -> NDArray[np.int64]:
    """Return the orientation by which the boxes of every picture have to be turned."""
    orientations = np.full(len(headers), UPRIGHT, dtype=np.int64)
    with_boxes = {*records.pictures.tolist()}
    for index, header in enumerate(headers):
        # Tools that write shares of the picture read it upright, as ultralytics does.
        if header.orientation == UPRIGHT or records.is_relative or index not in with_boxes:
            continue
        declared = tuple(records.sizes[index].tolist())
        is_clear = header.orientation in SWAPPING and header.width != header.height and all(declared)
        if is_clear and declared == (header.width, header.height):
            orientations[index] = header.orientation
        elif not is_clear:
            detail = f"EXIF orientation {header.orientation}; its boxes are taken as drawn on the upright picture"
            faults.append(Fault("unclear turn", records.paths[index], detail))
    return orientations


def _to_pixels(
    records: BoxRecords, *, upright: NDArray[np.int64], orientations: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return all boxes in pixels of upright pictures."""
    sizes = upright[records.pictures]
    if records.is_relative:
        return records.boxes * np.tile(sizes, 2)
    boxes = records.boxes.copy()
    of_boxes = orientations[records.pictures]
    for orientation in np.unique(of_boxes).tolist():
        turned = of_boxes == orientation
        stored = sizes[turned][:, ::-1] if orientation in SWAPPING else sizes[turned]
        boxes[turned] = turn_boxes(boxes[turned], sizes=stored, orientation=orientation)
    return boxes


def _check_masks(
    records: BoxRecords,
    upright: NDArray[np.int64],
    orientations: NDArray[np.int64],
    *,
    unmasked: Unmasked,
    faults: list[Fault],
) -> tuple[list[Segment | None], NDArray[np.bool_]]:
    """Return the usable parts of all masks, and which objects have one.

    The box of an object that has none is its mask if `unmasked` is `"ignore"`.

    Raises:
        InputError: if no object has a mask.
    """
    if len(records.boxes) and not any(records.segments or ()):
        raise InputError(f"{records.origin}: has no masks; COCO files, YOLO polygons and digit_scenes may have some")
    segments: list[Segment | None] = []
    has_mask = np.zeros(len(records.boxes), dtype=np.bool_)
    for index, segment in enumerate(records.segments or ()):
        picture = int(records.pictures[index])
        width, height = upright[picture].tolist()
        polygons, box = segment, records.boxes[index]
        if records.is_relative:
            box = box * (width, height, width, height)
        if records.is_relative and segment:
            polygons = [[x * (height if at % 2 else width) for at, x in enumerate(polygon)] for polygon in segment]
        if int(orientations[picture]) in SWAPPING:
            width, height = height, width
        result = check_segment(polygons, width=width, height=height)
        has_mask[index] = result.segment is not None
        stand_in = _rectangle(box, width=width, height=height) if unmasked == "ignore" else None
        segments.append(result.segment if has_mask[index] else stand_in)
        if result.problem:
            faults.append(note_fault("bad mask", records, result.problem, box=index))
    return segments, has_mask


def _rectangle(box: NDArray[np.float64], *, width: int, height: int) -> Segment:
    """Return the pixels of a picture that a box touches, as a polygon."""
    left, top = np.floor(box[:2].clip(0, (width, height))).tolist()
    right, bottom = np.ceil(box[2:].clip(0, (width, height))).tolist()
    return [[left, top, right, top, right, bottom, left, bottom]]


def _cut(
    boxes: NDArray[np.float64],
    records: BoxRecords,
    *,
    upright: NDArray[np.int64],
    is_sound: NDArray[np.bool_],
    faults: list[Fault],
) -> NDArray[np.float32]:
    """Return the boxes cut at the borders of their pictures; boxes of which nothing is left are no longer sound."""
    limits = np.tile(upright[records.pictures], 2).astype(np.float64)
    cut = boxes.clip(0, limits)
    rounded = cut.astype(np.float32)
    # A box without area is a fault by itself, whether it is in the picture or not.
    is_empty = _is_empty(boxes.clip(-_FARTHEST, _FARTHEST).astype(np.float32))
    # A box inside the first pixel is no object, unless the picture has no other; its numbers are probably shares.
    is_single = limits.max(axis=1, initial=0) == 1
    is_share = ~is_empty & ~is_single & (records.boxes.max(axis=1, initial=0) <= 1) & (not records.is_relative)
    is_outside = ~is_empty & ~is_share & _is_empty(rounded)
    is_partly = ~is_empty & ~is_share & ~is_outside & (np.abs(boxes - cut).max(axis=1, initial=0) > _ROUNDING)
    kinds: tuple[tuple[FaultKind, NDArray[np.bool_]], ...] = (
        ("zero size", is_empty),
        ("wrong unit", is_share),
        ("outside", is_outside),
        ("partly outside", is_partly),
    )
    for kind, is_faulty in kinds:
        for index in np.flatnonzero(is_faulty & is_sound).tolist():
            where = f"{_words(boxes[index])} in {_size(upright[records.pictures[index]].tolist())} pixels"
            faults.append(note_fault(kind, records, where, box=index))
    is_sound &= ~is_empty & ~is_share & ~is_outside
    return rounded


def _drop_duplicates(
    boxes: NDArray[np.float32], records: BoxRecords, *, is_sound: NDArray[np.bool_], faults: list[Fault]
) -> None:
    """Let boxes that repeat an earlier box be no longer sound. Boxes of crowds are not compared."""
    compared = np.flatnonzero(is_sound & ~records.crowd)
    keys = records.pictures * len(records.labels) + records.classes
    # Equal boxes first: thousands of them would make millions of pairs.
    originals = compared[find_repeated(boxes[compared], groups=keys[compared])]
    for original, index in zip(originals.tolist(), compared.tolist(), strict=True):
        if original != index:
            faults.append(note_fault("duplicate", records, f"{_words(boxes[original])}, twice", box=index))
            is_sound[index] = False
    compared = compared[originals == compared]
    for overlap in find_overlaps(boxes[compared], groups=keys[compared], smallest_iou=NEAR_DUPLICATE_IOU):
        first, second = int(compared[overlap.first]), int(compared[overlap.second])
        if not (is_sound[first] and is_sound[second]):
            continue
        is_same = overlap.iou > DUPLICATE_IOU
        detail = f"{_words(boxes[first])} and {_words(boxes[second])}, IoU {overlap.iou:.2f}"
        faults.append(note_fault("duplicate" if is_same else "near duplicate", records, detail, box=second))
        is_sound[second] &= not is_same


def _areas(
    records: BoxRecords, *, upright: NDArray[np.int64], boxes: NDArray[np.float32]
) -> NDArray[np.float32] | None:
    """Return the areas of objects in pixels; that of the box where the file gives none. None if the format has none."""
    if records.areas is None:
        return None
    areas = records.areas * upright[records.pictures].prod(axis=1) if records.is_relative else records.areas
    return np.where(np.isnan(areas), (boxes[:, 2:] - boxes[:, :2]).prod(axis=1), areas).astype(np.float32)


def _is_empty(boxes: NDArray[np.float32]) -> NDArray[np.bool_]:
    return (boxes[:, 2] <= boxes[:, 0]) | (boxes[:, 3] <= boxes[:, 1])


def _words(box: Iterable[float]) -> str:
    return "(" + ", ".join(f"{float(edge):.6g}" for edge in box) + ")"


def _size(size: Sequence[int]) -> str:
    return f"{size[0]}x{size[1]}"
