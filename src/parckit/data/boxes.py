"""Opening pictures with boxes: COCO, Pascal VOC and YOLO files, and `digit_scenes`.

`parckit.data.splits` says what serves as a missing split. Without `val`, the pictures of `train` whose names have the
lowest hashes are held out, a tenth of them.
"""

import os
import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np

from parckit.contract import InputError
from parckit.data.box_cleaning import CleanBoxes, Unmasked, clean_boxes
from parckit.data.box_pictures import leave_out_unreadable
from parckit.data.box_records import BoxLayout, BoxRecords, join_records, select_pictures
from parckit.data.coco import find_coco, find_coco_file
from parckit.data.datasets import Table
from parckit.data.digit_scenes import LABELS, make_digit_scenes
from parckit.data.faults import OnBoxFault, describe_faults, harmful_faults, tell_faults
from parckit.data.headers import Header
from parckit.data.picture_table import BoxTable, PictureFiles, PictureTable
from parckit.data.segments import mask_functions, pack_segments
from parckit.data.source import Source, single_source
from parckit.data.splits import NAMED, Named, Served, Split, part_of_pictures, resolve_split, usable_splits
from parckit.data.stored_boxes import StoredBoxes
from parckit.data.voc import find_voc
from parckit.data.yolo import find_yolo, find_yolo_file

_SCENES = re.compile(r"digit_scenes(?::(\d{1,9}))?")

_ACCEPTED = (
    "accepted are 'digit_scenes', a COCO .json file, a folder with such files, a Pascal VOC folder, and a YOLO"
    " data.yaml or its folder"
)


def open_boxes(source: str, *, split: Split, masks: bool | None = False, on_box_fault: OnBoxFault = "drop") -> BoxTable:
    """Open a split of pictures with boxes.

    Args:
        source: `"digit_scenes"` or `"digit_scenes:N"` with N training pictures (`parckit.data.digit_scenes`), or files
            on disk: `parckit.data.coco`, `parckit.data.voc` and `parckit.data.yolo` say which. If a folder has files of
            several formats, YOLO comes before COCO and COCO before VOC; name the folder `Annotations` for VOC.
        split: `"train"`, `"val"`, `"test"`, or `"all"` for every picture.
        masks: whether the objects need masks; None takes them if every object has one.
        on_box_fault: `"drop"` drops or cuts faulty boxes and leaves out pictures that cannot be used, with a warning
            that counts them; `"raise"` refuses the source and names the first fault.

    Raises:
        InputError: if the source is of no accepted kind or malformed, a box is faulty and `on_box_fault` is `"raise"`,
            all boxes have a wrong unit, no picture can be used, or masks are wanted and there are none.
    """
    if on_box_fault not in get_args(OnBoxFault):
        raise InputError(f"on_box_fault={on_box_fault!r}: choose from {get_args(OnBoxFault)}")
    table = read_boxes(source, split=split, masks=masks)
    tell_faults(table.faults, source=f"{source}, {table.served}", on_fault=on_box_fault, option="on_box_fault")
    return table


def open_box_table(
    source: Source, *, split: Split, masks: bool | None = False, on_box_fault: OnBoxFault = "drop"
) -> Table:
    """Open a split of pictures with boxes, as `open_boxes` does, for training or evaluation.

    Raises:
        InputError: as `open_boxes`, or if there is not one source, or no picture has an object.
    """
    first = single_source(source, holds="boxes", accepted=_ACCEPTED)
    table = open_boxes(first, split=split, masks=masks, on_box_fault=on_box_fault)
    counts = table.targets.count_objects(classes=len(table.labels))
    if counts is not None and not counts.any():
        raise InputError(f"{first}, {table.served}: none of its {len(table.targets)} pictures has an object")
    return table


def read_boxes(
    source: str,
    *,
    split: Split,
    masks: bool | None,
    layout: BoxLayout | None = None,
    unmasked: Unmasked = "drop",
) -> BoxTable:
    """Open a split as `open_boxes` does, but tell nobody about faults.

    Args:
        source: the source.
        split: the split.
        masks: whether masks are wanted; None takes them if every object has one.
        layout: where the source keeps what; None finds it out.
        unmasked: what happens to objects without a usable mask, if masks are wanted.

    Raises:
        InputError: as `open_boxes`.
    """
    if split not in get_args(Split):
        raise InputError(f"split={split!r}: choose from {get_args(Split)}")
    if is_digit_scenes(source):
        count = _scene_count(source)
        scenes = make_digit_scenes(split=split, count=count, masks=masks is not False)
        return PictureTable(labels=LABELS, served=split, targets=scenes, pictures=scenes)
    records, headers, served = _read(source, split=split, layout=layout or find_layout(source))
    wants_masks = bool(records.segments) and all(records.segments or ()) if masks is None else masks
    if wants_masks:
        mask_functions()  # a missing package is told now, not after the first epoch
    boxes = clean_boxes(records, headers, masks=wants_masks, unmasked=unmasked)
    return _table(boxes, labels=records.labels, served=served)


def read_splits(source: str) -> dict[Named, Callable[[bool | None], BoxTable]]:
    """Return every split of a source and a function that reads it; see `read_boxes`, whose argument `masks` it takes.

    The splits are those of the source, and `val` if a part of `train` serves as it. The files are looked for once, and
    read once if they serve as two splits.

    Raises:
        InputError: if the source is of no accepted kind.
    """
    layout = None if is_digit_scenes(source) else find_layout(source)
    present = NAMED
    if layout is not None:
        layout, present = replace(layout, read=cache(layout.read)), layout.present

    def reader(split: Named) -> Callable[[bool | None], BoxTable]:
        return lambda masks: read_boxes(source, split=split, masks=masks, layout=layout)

    return {name: reader(name) for name in usable_splits(present)}


def box_splits(source: str) -> tuple[Named, ...]:
    """Return the splits that a source has, and `val` if a part of `train` serves as it.

    Raises:
        InputError: if the source is of no accepted kind.
    """
    return tuple(read_splits(source))


def _read(source: str, *, split: Split, layout: BoxLayout) -> tuple[BoxRecords, list[Header], str]:
    """Return the usable pictures of a split, their headers, and which part of the source they are.

    Only pictures that can be read are held out or kept, so no part of a source is left without pictures.
    """
    if split == "all":
        records, resolved = join_records([layout.read(name) for name in layout.present], origin=source), None
    else:
        resolved = resolve_split(split, present=layout.present, source=source)
        records = layout.read(resolved.name)
    if not records.names:
        raise InputError(f"{records.origin}: lists no pictures")
    usable, headers = leave_out_unreadable(records)
    if not usable.names:
        faults = [noted.fault for noted in usable.faults]
        raise InputError(f"{records.origin}: no picture can be used: {describe_faults(harmful_faults(faults))}")
    if resolved is None or resolved.part == "whole":
        return usable, headers, str(resolved or split)
    kept = part_of_pictures(usable.names, part=resolved.part, source=source)
    taken = _take(usable, kept, resolved=resolved)
    return taken, [headers[index] for index in kept], str(resolved)


def is_digit_scenes(source: str) -> bool:
    """Tell whether a source is the built-in one. Write `"./digit_scenes"` for a folder that is called so."""
    return source == "digit_scenes" or source.startswith("digit_scenes:")


def _scene_count(source: str) -> int | None:
    if (matched := _SCENES.fullmatch(source)) is None:
        raise InputError(f"{source}: needs a number of pictures after the colon, such as digit_scenes:500")
    return None if matched[1] is None else int(matched[1])


def find_layout(source: str) -> BoxLayout:
    """Find out in which format a source is.

    Raises:
        InputError: if it is of no accepted kind.
    """
    path = Path(source).expanduser()
    try:
        if path.is_dir():
            layout = find_yolo(path) or find_coco(path) or find_voc(path) or find_coco(path, is_named=False)
            problem = "holds no files with boxes"
        elif path.is_file():
            ending = path.suffix.lower()
            layout = find_coco_file(path) if ending == ".json" else None
            layout = find_yolo_file(path) if ending in (".yaml", ".yml") else layout
            problem = "is no file with boxes"
        else:
            layout, problem = None, "no such file or folder"
    except OSError as error:
        raise InputError(f"{error.filename or f'{source:.200}'}: cannot be opened ({error.strerror})") from error
    if layout is None:
        raise InputError(f"{source:.200}: {problem}; {_ACCEPTED}")
    return layout


def _take(records: BoxRecords, kept: Sequence[int], *, resolved: Served) -> BoxRecords:
    """Return the pictures that belong to a part of a split."""
    taken = select_pictures(records, kept)
    if resolved.part != "held_out":
        return taken
    # Faults that belong to no picture are those of the part that stays in training.
    return replace(taken, faults=[noted for noted in taken.faults if noted.picture is not None])


def _table(boxes: CleanBoxes, *, labels: tuple[str, ...], served: str) -> BoxTable:
    files = PictureFiles(paths=np.array([os.fsencode(path) for path in boxes.paths]), sizes=boxes.sizes)
    targets = StoredBoxes(
        files=files,
        starts=np.searchsorted(boxes.pictures, np.arange(len(boxes.paths) + 1)),
        boxes=boxes.boxes,
        labels=boxes.classes,
        crowd=boxes.crowd,
        segments=None if boxes.segments is None else pack_segments(boxes.segments),
        areas=boxes.areas,
        orientations=boxes.orientations,
    )
    return PictureTable(labels=labels, served=served, targets=targets, pictures=files, faults=boxes.faults)
