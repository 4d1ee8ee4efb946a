"""Masks beside pictures in folders: `images/` and `masks/`, and the layouts of CamVid.

Accepted are, with `SPLIT` for `train`, `val` or `test` (or another usual spelling):

- `images/` and `masks/`, with or without folders `SPLIT/` in both of them, or both inside of every `SPLIT/`;
- `SPLIT/` and `SPLITannot/` (or `SPLIT_labels/`, `SPLIT_masks/`), as CamVid has it;
- `SPLIT/` with pictures and masks in one folder, where the names of masks end in `_mask`, as Roboflow writes it.

If `SPLIT.txt` lies beside these folders, it says which pictures belong to the split: see `parckit.data.mask_lists`.

The first of them is also the layout of ADE20K's scene parsing benchmark: `images/training` and `annotations/training`.

A mask has the name of its picture, or this name with `_mask`, `_label`, `_labels`, `_seg`, `_gt` or `_L` at its end.
A class table lies beside these folders, in them, or in a folder of masks: see `parckit.data.mask_classes`.

If there are two classes, and the masks of the source have 0 and 255 but never 1, 255 is the second class: many tools
write black and white masks. In all other sources 255 is ignored.
"""

from collections.abc import Iterable, Mapping
from functools import cache, partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parckit.contract import InputError
from parckit.data.mask_classes import TABLE_FILES, find_class_table, read_class_table
from parckit.data.mask_coding import MaskCoding, make_coding, read_mask
from parckit.data.mask_lists import find_mask_lists, read_mask_list
from parckit.data.mask_records import (
    FolderFiles,
    MaskLayout,
    MaskPairs,
    all_by_stem,
    list_stems,
    pair_up,
    splits_in_order,
    unique_by_stem,
)
from parckit.data.splits import Named, find_splits
from parckit.processing import IGNORED, IMAGE_EXTENSIONS, LeftOut, subfolders

_PICTURES = ("images", "image", "imgs", "img", "jpegimages")
_MASKS = ("masks", "mask", "labels", "label", "annotations", "segmentations", "gt")
_BESIDE = ("annot", "_labels", "_masks", "_annotations", "_label", "_mask", "labels", "masks")
"""What the folder of a split's masks has after the split's name."""

_SUFFIXES = ("_mask", "_labels", "_label", "_seg", "_gt", "_l")
"""What the name of a mask has after that of its picture, lower case."""

_MIXED_END = "_mask"
"""What the name of a mask ends in where pictures and masks lie in one folder, lower case."""

_TELLING = (0, 1, IGNORED)
"""Values that tell what 255 means in masks of two classes."""

_THREADS = 8
"""Masks that are read at once for that."""

_CHUNK = 16


class _Place(NamedTuple):
    """The folders of a split."""

    pictures: Path
    masks: Path


def find_mask_folders(folder: Path) -> MaskLayout | None:
    """Return the pictures and masks of a folder; None if there are none.

    Raises:
        InputError: if there is no class table, or two folders mean the same split.
    """
    places = _beside(folder) or _inside(folder) or _above(folder) or _mixed(folder)
    if not places:
        return None
    inner = [path for place in places.values() for path in (place.masks, place.masks.parent, place.pictures)]
    table = find_class_table(folder, *inner)
    if table is None:
        wanted = f"write {folder / TABLE_FILES[0]} with a name in every line, in the order of the numbers in the masks"
        raise InputError(f"{folder}: holds masks, but none of the class tables {', '.join(TABLE_FILES)}; {wanted}")
    labels, coding = read_class_table(table)
    lists = find_mask_lists(folder)
    present = splits_in_order({**places, **lists})
    read = cache(partial(_read, places, lists))
    notes: list[str] = []
    if not len(coding.colours) and np.array_equal(coding.numbers, make_coding({0: 0, 1: 1}).numbers):
        masks = [pair.mask for split in present for pair in read(split).pairs]
        coding, notes = _with_meaning_of_255(masks, coding, labels=labels)
    notes += [f"split by {', '.join(path.name for path in lists.values())}"] if lists else []
    return MaskLayout(labels=labels, coding=coding, present=present, read=read, note=", ".join(notes))


def _with_meaning_of_255(
    masks: Iterable[str], coding: MaskCoding, *, labels: tuple[str, ...]
) -> tuple[MaskCoding, list[str]]:
    """Return what 255 means in masks of two classes, and what records say of it.

    It is the second class if 0 and 255 occur, and 1 occurs in no mask. A few masks do not tell: most masks of a rare
    class have 0 only, and others have 255 only as the border of things that are 1.
    """
    values: set[int] = set()
    with ThreadPool(_THREADS) as pool:
        for some in pool.imap(_telling_values, masks, chunksize=_CHUNK):
            values |= some
            if {1, IGNORED} <= values:
                return coding, [f"where {IGNORED} is ignored, because 1 is {labels[1]}"]
    if values == {0, IGNORED}:
        return make_coding({0: 0, 1: 1, IGNORED: 1}), [f"where {IGNORED} is {labels[1]}"]
    return coding, []


def _telling_values(path: str) -> set[int]:
    """Return which of 0, 1 and 255 a mask has. Broken masks and other values are told of later."""
    try:
        classes = read_mask(path, make_coding({value: number for number, value in enumerate(_TELLING)})).classes
    except InputError:
        return set()
    return {value for number, value in enumerate(_TELLING) if (classes == number).any()}


def _beside(folder: Path) -> dict[Named, _Place]:
    """Return `train/` and `trainannot/` of every split."""
    names = subfolders(str(folder), left_out=[]).folders
    spelled = {name.casefold(): name for name in names}
    splits = find_splits([name for name in names if _masks_beside(name, spelled)], source=str(folder))
    return {split: _Place(folder / name, folder / _masks_beside(name, spelled)) for split, name in splits.items()}


def _masks_beside(name: str, spelled: Mapping[str, str]) -> str:
    return next((spelled[name.casefold() + end] for end in _BESIDE if name.casefold() + end in spelled), "")


def _inside(folder: Path) -> dict[Named, _Place]:
    """Return `images/` and `masks/`, with or without folders of splits in them."""
    place = _pair_of_folders(folder)
    if place is None:
        return {}
    splits_of = [find_splits(subfolders(str(inner), left_out=[]).folders, source=str(inner)) for inner in place]
    both: dict[Named, _Place] = {
        split: _Place(place.pictures / name, place.masks / splits_of[1][split])
        for split, name in splits_of[0].items()
        if split in splits_of[1]
    }
    return both or {"train": place}


def _above(folder: Path) -> dict[Named, _Place]:
    """Return `train/images/` and `train/masks/` of every split."""
    splits = find_splits(subfolders(str(folder), left_out=[]).folders, source=str(folder))
    places: dict[Named, _Place | None] = {split: _pair_of_folders(folder / name) for split, name in splits.items()}
    return {split: place for split, place in places.items() if place is not None}


def _mixed(folder: Path) -> dict[Named, _Place]:
    """Return `train/` with pictures and masks, which `_mask` in their names tells apart."""
    splits = find_splits(subfolders(str(folder), left_out=[]).folders, source=str(folder))
    paths: dict[Named, Path] = {split: folder / name for split, name in splits.items()} or {"train": folder}
    return {split: _Place(path, path) for split, path in paths.items() if next(path.glob(f"*{_MIXED_END}.png"), None)}


def _pair_of_folders(folder: Path) -> _Place | None:
    spelled = {name.casefold(): name for name in subfolders(str(folder), left_out=[]).folders}
    names = [next((spelled[name] for name in accepted if name in spelled), None) for accepted in (_PICTURES, _MASKS)]
    if names[0] is None or names[1] is None or not _has_picture(folder / names[1]):
        return None
    return _Place(folder / names[0], folder / names[1])


def _has_picture(folder: Path) -> bool:
    """Tell whether a folder has masks. Other folders of the same name hold text files of YOLO, or COCO's json files."""
    return any(path.suffix.lower() in IMAGE_EXTENSIONS for path in folder.rglob("*"))


def _read(places: Mapping[Named, _Place], lists: Mapping[Named, Path], split: Named) -> MaskPairs:
    """Return the pictures of a split: those of its list, or those of its folder that are in no list."""
    if split in lists:
        return _read_list(places, lists, split)
    left_out: list[LeftOut] = []
    pairs = pair_up(_files(places[split], left_out=left_out), folder=split)
    others = [_read_list(places, lists, name) for name in lists]
    listed = {pair.picture for other in others for pair in other.pairs}
    listed |= {fault.file for other in others for fault in other.faults}
    return MaskPairs(
        pairs=[pair for pair in pairs.pairs if pair.picture not in listed],
        faults=[fault for fault in pairs.faults if fault.file not in listed],
        left_out=[entry for entry in left_out if Path(entry.path).name not in TABLE_FILES],
    )


def _read_list(places: Mapping[Named, _Place], lists: Mapping[Named, Path], split: Named) -> MaskPairs:
    # The folders of the split come first: a name without a path means a picture in them.
    ordered = sorted(places, key=lambda name: name != split)
    return read_mask_list(lists[split], split=split, files=[_files(places[name], left_out=[]) for name in ordered])


def _files(place: _Place, *, left_out: list[LeftOut]) -> FolderFiles:
    """Return the pictures and masks of a place, both by the stem of the picture."""
    stems = list_stems(place.pictures, left_out=left_out)
    if place.pictures == place.masks:
        masks = [(stem, path) for stem, path in stems if stem.lower().endswith(_MIXED_END)]
        pictures = unique_by_stem((stem, path) for stem, path in stems if not stem.lower().endswith(_MIXED_END))
        return FolderFiles(pictures, all_by_stem((stem[: -len(_MIXED_END)], path) for stem, path in masks))
    pictures = unique_by_stem(stems)
    masks = list_stems(place.masks, left_out=left_out)
    return FolderFiles(pictures, all_by_stem((_partner(stem, pictures), path) for stem, path in masks))


def _partner(stem: str, pictures: Mapping[str, str]) -> str:
    """Return the stem of the picture that a mask belongs to; the mask's own stem if there is none."""
    shorter = [stem[: len(stem) - len(suffix)] for suffix in _SUFFIXES if stem.lower().endswith(suffix)]
    return next((name for name in (stem, *shorter) if name in pictures), stem)
