"""Opening pictures with the class of every pixel: files of masks, COCO's objects, and `digit_scenes`.

`parckit.data.splits` says what serves as a missing split. Without `val`, the pictures of `train` whose names have the
lowest hashes are held out, a tenth of them.
"""

import os
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np

from parckit.contract import InputError
from parckit.data.box_records import BoxLayout
from parckit.data.boxes import is_digit_scenes, read_boxes
from parckit.data.coco import find_coco, find_coco_file
from parckit.data.faults import Fault, OnMaskFault, describe_faults, tell_faults
from parckit.data.mask_cityscapes import find_cityscapes
from parckit.data.mask_folders import find_mask_folders
from parckit.data.mask_pictures import fit_pairs
from parckit.data.mask_records import MaskLayout, MaskPair, MaskPairs
from parckit.data.mask_voc import find_voc_masks
from parckit.data.picture_table import BoxTable, MaskTable, PictureFiles, PictureTable
from parckit.data.source import Source, single_source
from parckit.data.splits import NAMED, Named, Part, Split, part_of_pictures, resolve_split, usable_splits
from parckit.data.stored_masks import PaintedObjects, StoredMasks
from parckit.processing import IGNORED

BACKGROUND = "background"
"""Name of the class of all pixels that belong to no object."""

_ACCEPTED = (
    "accepted are 'digit_scenes', folders with pictures and masks (also as Pascal VOC, ADE20K, Cityscapes and CamVid"
    " have them), and a COCO .json file or a folder with such files"
)


def open_mask_table(source: Source, *, split: Split, on_mask_fault: OnMaskFault = "drop") -> MaskTable:
    """Open a split of pictures with the class of every pixel, for training or evaluation.

    File names and headers are checked now. What only the pixels of a mask tell is checked when the mask is read
    (`parckit.data.faults`).

    Args:
        source: `"digit_scenes"` or `"digit_scenes:N"` with N training pictures (`parckit.data.digit_scenes`), or a
            folder: `parckit.data.mask_folders`, `parckit.data.mask_voc` and `parckit.data.mask_cityscapes` say which.
            Of COCO's files, the objects are painted on `background`; `parckit.data.coco` says which files are accepted.
        split: `"train"`, `"val"`, `"test"`, or `"all"` for every picture.
        on_mask_fault: `"drop"` leaves out pictures that cannot be used, with a warning that counts them, and ignores
            pixels of no class; `"raise"` refuses the source and names the first fault.

    Raises:
        InputError: if there is not one source, the source is of no accepted kind or malformed, no picture can be
            used, or there is a fault and `on_mask_fault` is `"raise"`.
    """
    if on_mask_fault not in get_args(OnMaskFault):
        raise InputError(f"on_mask_fault={on_mask_fault!r}: choose from {get_args(OnMaskFault)}")
    first = single_source(source, holds="masks", accepted=_ACCEPTED)
    table = read_masks(first, split=split, on_mask_fault=on_mask_fault)
    tell_faults(table.faults, source=f"{first}, {table.served}", on_fault=on_mask_fault, option="on_mask_fault")
    if not len(table.targets):
        raise InputError(f"{first}, {table.served}: no picture can be used: {describe_faults(table.faults)}")
    return table


def read_masks(
    source: str,
    *,
    split: Split,
    on_mask_fault: OnMaskFault = "drop",
    layout: MaskLayout | BoxLayout | None = None,
) -> MaskTable:
    """Open a split as `open_mask_table` does, but tell nobody about faults. It may have no pictures.

    Args:
        source: the source.
        split: the split.
        on_mask_fault: what happens to values and colours of no class when a mask is read.
        layout: where the source keeps what; None finds it out.

    Raises:
        InputError: as `open_mask_table`.
    """
    if split not in get_args(Split):
        raise InputError(f"split={split!r}: choose from {get_args(Split)}")
    layout = None if is_digit_scenes(source) else layout or find_mask_layout(source)
    if layout is None or isinstance(layout, BoxLayout):
        return _paint(read_boxes(source, split=split, masks=True, layout=layout, unmasked="ignore"), source=source)
    if split == "all":
        pairs, part, served = _join([layout.read(name) for name in layout.present]), "whole", split
    else:
        resolved = resolve_split(split, present=layout.present, source=source)
        pairs, part, served = layout.read(resolved.name), resolved.part, str(resolved)
    served = f"{served}, {layout.note}" if layout.note else served
    return _table(pairs, part=part, layout=layout, served=served, source=source, on_mask_fault=on_mask_fault)


def read_mask_splits(source: str) -> dict[Named, Callable[[], MaskTable]]:
    """Return every split of a source and a function that reads it as `read_masks` does.

    The splits are those of the source, and `val` if a part of `train` serves as it. The files are looked for once.

    Raises:
        InputError: if the source is of no accepted kind.
    """
    layout, present = None, NAMED
    if not is_digit_scenes(source):
        layout = find_mask_layout(source)
        present = layout.present
        layout = replace(layout, read=cache(layout.read))

    def reader(split: Named) -> Callable[[], MaskTable]:
        return lambda: read_masks(source, split=split, layout=layout)

    return {name: reader(name) for name in usable_splits(present)}


def _paint(boxes: BoxTable, *, source: str) -> MaskTable:
    """Return a table of objects as one of pixels. Without a class `background`, one is put before the others."""
    labels = boxes.labels if BACKGROUND in boxes.labels else (BACKGROUND, *boxes.labels)
    if len(labels) > IGNORED:
        raise InputError(f"{source}: has {len(labels)} classes; accepted are {IGNORED} at most")
    painted = PaintedObjects(
        objects=boxes.targets,
        pictures=boxes.pictures,
        numbers=np.array([labels.index(label) for label in boxes.labels], dtype=np.uint8),
        background=labels.index(BACKGROUND),
    )
    return PictureTable(
        labels=labels, served=boxes.served, targets=painted, pictures=boxes.pictures, faults=boxes.faults
    )


def find_mask_layout(source: str) -> MaskLayout | BoxLayout:
    """Find out how a source keeps its masks. A `BoxLayout` means: as objects in COCO's files.

    Raises:
        InputError: if it is of no accepted kind.
    """
    path = Path(source).expanduser()
    layout: MaskLayout | BoxLayout | None = None
    problem = "no such file or folder"
    try:
        if path.is_dir():
            layout = find_cityscapes(path) or find_voc_masks(path) or find_mask_folders(path)
            layout, problem = layout or find_coco(path) or find_coco(path, is_named=False), "holds no masks"
        elif path.is_file():
            layout = find_coco_file(path) if path.suffix.lower() == ".json" else None
            problem = "is no file with masks"
    except OSError as error:
        raise InputError(f"{error.filename or f'{source:.200}'}: cannot be opened ({error.strerror})") from error
    if layout is None:
        raise InputError(f"{source:.200}: {problem}; {_ACCEPTED}")
    return layout


def _join(parts: list[MaskPairs]) -> MaskPairs:
    """Return the pictures of several splits. A picture that is in two splits comes once."""
    known: set[str] = set()
    pairs: list[MaskPair] = []
    faults = [fault for part in parts for fault in part.faults]
    for pair in (pair for part in parts for pair in part.pairs):
        if pair.picture in known:
            faults.append(Fault("in two splits", pair.picture, "comes again in another split"))
            continue
        known.add(pair.picture)
        pairs.append(pair)
    return MaskPairs(pairs=pairs, faults=faults, left_out=[entry for part in parts for entry in part.left_out])


def _table(
    pairs: MaskPairs, *, part: Part, layout: MaskLayout, served: str, source: str, on_mask_fault: OnMaskFault
) -> MaskTable:
    """Return the usable pictures of a part of a split.

    Only usable pictures are held out or kept, so no part of a source is left without pictures. What is wrong with the
    others is told of the part that stays in training.
    """
    fitting, faults = fit_pairs(pairs)
    names = [fit.pair.name for fit in fitting]
    taken = [fitting[index] for index in part_of_pictures(names, part=part, source=source)]
    sizes = np.array([fit.size for fit in taken], dtype=np.int64).reshape(-1, 2)
    masks = StoredMasks(
        [fit.pair.mask for fit in taken],
        sizes=sizes,
        orientations=np.array([fit.orientation for fit in taken], dtype=np.int64),
        coding=layout.coding,
        on_mask_fault=on_mask_fault,
    )
    is_in_training = part != "held_out"
    return PictureTable(
        labels=layout.labels,
        served=served,
        targets=masks,
        pictures=PictureFiles(paths=np.array([os.fsencode(fit.pair.picture) for fit in taken]), sizes=sizes),
        faults=(*(faults if is_in_training else ()), *(fit.fault for fit in taken if fit.fault is not None)),
        left_out=tuple(pairs.left_out) if is_in_training else (),
    )
