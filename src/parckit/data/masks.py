"""Opening pictures with the class of every pixel: files of masks, COCO's objects, and `digit_scenes`.

`parckit.data.splits` says what serves as a missing split. Without `val`, the pictures of `train` whose names have the
lowest hashes are held out, a tenth of them.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import get_args

import numpy as np

from parckit.contract import InputError
from parckit.data.box_faults import describe_faults, tell_faults
from parckit.data.box_records import BoxLayout
from parckit.data.box_table import BoxFiles, BoxTable
from parckit.data.boxes import is_digit_scenes, read_boxes
from parckit.data.coco import find_coco, find_coco_file
from parckit.data.headers import Header, read_headers
from parckit.data.mask_cityscapes import find_cityscapes
from parckit.data.mask_faults import MaskFault, OnMaskFault, tell_mask_faults
from parckit.data.mask_folders import find_mask_folders
from parckit.data.mask_records import MaskLayout, MaskPair, MaskPairs
from parckit.data.mask_table import MaskTable, PaintedObjects, StoredMasks, mask_orientation
from parckit.data.mask_voc import find_voc_masks
from parckit.data.source import Source
from parckit.data.splits import NAMED, Named, Split, part_of, resolve_split
from parckit.data.turning import SWAPPING, UPRIGHT, upright_size
from parckit.processing import IGNORED

BACKGROUND = "background"
"""Name of the class of all pixels that belong to no object."""

_ACCEPTED = (
    "accepted are 'digit_scenes', folders with pictures and masks (also as Pascal VOC, ADE20K, Cityscapes and CamVid"
    " have them), and a COCO .json file or a folder with such files"
)


def open_mask_table(source: Source, *, split: Split, on_mask_fault: OnMaskFault = "drop") -> MaskTable:
    """Open a split of pictures with the class of every pixel, for training or evaluation.

    File names and headers are checked now. What only the pixels of a mask tell is checked when the mask is read.

    Args:
        source: `"digit_scenes"` or `"digit_scenes:N"` with N training pictures (`parckit.data.digit_scenes`), or a
            folder: `parckit.data.mask_folders`, `parckit.data.mask_voc` and `parckit.data.mask_cityscapes` say which.
            Of COCO's files, the objects are painted on `background`; `parckit.data.coco` says which files are accepted.
        split: `"train"`, `"val"`, `"test"`, or `"all"` for every picture.
        on_mask_fault: `"drop"` leaves out pictures that cannot be used and ignores pixels of no class, with warnings
            that count them; `"raise"` refuses the source and names the first fault.

    Raises:
        InputError: if there are several sources, the source is of no accepted kind or malformed, no picture can be
            used, or there is a fault and `on_mask_fault` is `"raise"`.
    """
    if on_mask_fault not in get_args(OnMaskFault):
        raise InputError(f"on_mask_fault={on_mask_fault!r}: choose from {get_args(OnMaskFault)}")
    (first, *others) = [source] if isinstance(source, str) else source
    if others:
        raise InputError(f"source: has {1 + len(others)} entries; masks come from one source")
    table = read_masks(first, split=split, on_mask_fault=on_mask_fault)
    told = f"{first}, {table.served}"
    tell_mask_faults(table.faults, source=told, on_mask_fault=on_mask_fault)
    tell_faults(table.box_faults, source=told, on_box_fault=on_mask_fault, option="on_mask_fault")
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
    if is_digit_scenes(source):
        return _paint(read_boxes(source, split=split, masks=True), source=source)
    layout = layout or find_mask_layout(source)
    if isinstance(layout, BoxLayout):
        return _paint(read_boxes(source, split=split, masks=True, layout=layout), source=source)
    pairs, served = _read(source, split=split, layout=layout)
    return _table(pairs, layout=layout, served=served, on_mask_fault=on_mask_fault)


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
        layout = replace(layout, read=cache(layout.read)) if isinstance(layout, BoxLayout) else layout

    def reader(split: Named) -> Callable[[], MaskTable]:
        return lambda: read_masks(source, split=split, layout=layout)

    return {name: reader(name) for name in NAMED if name in present or (name == "val" and "train" in present)}


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
    return MaskTable(
        labels=labels, served=boxes.served, targets=painted, pictures=boxes.pictures, box_faults=boxes.faults
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


def _read(source: str, *, split: Split, layout: MaskLayout) -> tuple[MaskPairs, str]:
    """Return the pictures of a split, and which part of the source they are."""
    note = f", {layout.note}" if layout.note else ""
    if split == "all":
        return _join([layout.read(name) for name in layout.present]), f"{split}{note}"
    resolved = resolve_split(split, present=layout.present, source=source)
    pairs, served = layout.read(resolved.name), f"{resolved}{note}"
    if resolved.part == "whole":
        return pairs, served
    if len(pairs.pairs) == 1:
        raise InputError(f"{source}: one picture cannot be both trained on and held out; add pictures, or a val split")
    # All pictures are of one class, because one may show several.
    of_one_class = np.zeros(len(pairs.pairs), dtype=np.int64)
    names = [pair.name for pair in pairs.pairs]
    taken = part_of(names, targets=of_one_class, labels=("picture",), part=resolved.part, source=source).tolist()
    # Faults that belong to no pair are those of the part that stays in training.
    faults, left_out = (pairs.faults, pairs.left_out) if resolved.part == "kept" else ([], [])
    return MaskPairs(pairs=[pairs.pairs[index] for index in taken], faults=faults, left_out=left_out), served


def _join(parts: list[MaskPairs]) -> MaskPairs:
    """Return the pictures of several splits. A picture that is in two splits comes once."""
    known: set[str] = set()
    pairs: list[MaskPair] = []
    faults = [fault for part in parts for fault in part.faults]
    for pair in (pair for part in parts for pair in part.pairs):
        if pair.picture in known:
            faults.append(MaskFault("in two splits", pair.picture, "comes again in another split"))
            continue
        known.add(pair.picture)
        pairs.append(pair)
    return MaskPairs(pairs=pairs, faults=faults, left_out=[entry for part in parts for entry in part.left_out])


def _table(pairs: MaskPairs, *, layout: MaskLayout, served: str, on_mask_fault: OnMaskFault) -> MaskTable:
    """Return the pictures whose headers and those of whose masks fit together."""
    listed = pairs.pairs
    headers = read_headers([path for pair in listed for path in (pair.picture, pair.mask)])
    faults = list(pairs.faults)
    kept: list[MaskPair] = []
    sizes: list[tuple[int, int]] = []
    orientations: list[int] = []
    for pair, picture, mask in zip(listed, headers[::2], headers[1::2], strict=True):
        orientation, fault = _fit(pair, picture, mask)
        faults += [] if fault is None else [fault]
        if orientation is not None:
            kept.append(pair)
            sizes.append(upright_size(picture.width, picture.height, orientation=picture.orientation))
            orientations.append(orientation)
    upright = np.array(sizes, dtype=np.int64).reshape(-1, 2)
    masks = StoredMasks(
        [pair.mask for pair in kept],
        sizes=upright,
        orientations=np.array(orientations, dtype=np.int64),
        coding=layout.coding,
        on_mask_fault=on_mask_fault,
    )
    files = BoxFiles(paths=np.array([pair.picture.encode(errors="surrogateescape") for pair in kept]), sizes=upright)
    return MaskTable(
        labels=layout.labels,
        served=served,
        targets=masks,
        pictures=files,
        faults=tuple(faults),
        left_out=tuple(pairs.left_out),
    )


def _fit(pair: MaskPair, picture: Header, mask: Header) -> tuple[int | None, MaskFault | None]:
    """Return by which EXIF orientation the mask has to be turned, and what is wrong. None: leave the picture out."""
    if picture.problem:
        missing = picture.problem == "missing"
        detail = "no such file" if missing else picture.problem
        return None, MaskFault("missing picture" if missing else "broken picture", pair.picture, detail)
    if mask.problem:
        missing = mask.problem == "missing"
        detail = f"belongs to {Path(pair.picture).name}, but there is no such file" if missing else mask.problem
        return None, MaskFault("missing mask" if missing else "broken mask", pair.mask, detail)
    stored, turn = (picture.width, picture.height), picture.orientation
    size = upright_size(mask.width, mask.height, orientation=mask.orientation)
    orientation = mask_orientation(size, picture=stored, orientation=turn)
    if orientation is None:
        shown = upright_size(*stored, orientation=turn)
        detail = f"{size[0]}x{size[1]} pixels, but its picture has {shown[0]}x{shown[1]}"
        return None, MaskFault("wrong size", pair.mask, detail)
    is_clear = turn == UPRIGHT or mask.orientation != UPRIGHT or (turn in SWAPPING and stored[0] != stored[1])
    if is_clear:
        return orientation, None
    detail = f"its picture has EXIF orientation {turn}; the mask is taken as drawn on the upright picture"
    return UPRIGHT, MaskFault("unclear turn", pair.mask, detail)
