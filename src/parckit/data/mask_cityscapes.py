"""Masks of Cityscapes: `leftImg8bit/SPLIT/CITY/*_leftImg8bit.png` and `gtFine/SPLIT/CITY/*_gtFine_labelIds.png`.

Files `*_gtFine_labelTrainIds.png` are read where there are no `*_labelIds.png`. The classes are the 19 that count in
the benchmark; all others are ignored. The public masks of `test` are empty, so `test` does not count.
"""

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path

from parckit.contract import InputError
from parckit.data.mask_coding import MaskCoding, make_coding
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
from parckit.processing import IGNORED, subfolders

CITYSCAPES_CLASSES: Mapping[str, int] = {
    "road": 7,
    "sidewalk": 8,
    "building": 11,
    "wall": 12,
    "fence": 13,
    "pole": 17,
    "traffic light": 19,
    "traffic sign": 20,
    "vegetation": 21,
    "terrain": 22,
    "sky": 23,
    "person": 24,
    "rider": 25,
    "car": 26,
    "truck": 27,
    "bus": 28,
    "train": 31,
    "motorcycle": 32,
    "bicycle": 33,
}
"""Class -> its number in `*_labelIds.png`. The order is that of the numbers in `*_labelTrainIds.png`."""

_NUMBERS = 34
"""Numbers in `*_labelIds.png`, from 0. The number -1 is stored as 255."""

_PICTURES, _MASKS = "leftImg8bit", "gtFine"
_PICTURE_END = "_leftImg8bit"
_MASK_ENDS = ("_gtFine_labelIds", "_gtFine_labelTrainIds")


def find_cityscapes(folder: Path) -> MaskLayout | None:
    """Return the masks of Cityscapes; None if there are none.

    Raises:
        InputError: if there are pictures, but no masks of train or val.
    """
    pictures, masks = folder / _PICTURES, folder / _MASKS
    if not pictures.is_dir() or not masks.is_dir():
        return None
    splits = find_splits(subfolders(str(masks), left_out=[]).folders, source=str(masks))
    splits.pop("test", None)
    ends = [
        end for end in _MASK_ENDS if any(next((masks / name).glob(f"*/*{end}.png"), None) for name in splits.values())
    ]
    if not ends:
        raise InputError(f"{masks}: holds no {' or '.join(f'*{end}.png' for end in _MASK_ENDS)} of train or val")
    return MaskLayout(
        labels=tuple(CITYSCAPES_CLASSES),
        coding=_coding(ends[0]),
        present=splits_in_order(splits),
        read=partial(_read, splits, folder, ends[0]),
        note="" if ends[0] == _MASK_ENDS[0] else f"*{ends[0]}.png",
    )


def _coding(end: str) -> MaskCoding:
    if end != _MASK_ENDS[0]:
        return make_coding({number: number for number in range(len(CITYSCAPES_CLASSES))})
    numbers = dict.fromkeys(range(_NUMBERS), IGNORED)
    return make_coding(numbers | {number: index for index, number in enumerate(CITYSCAPES_CLASSES.values())})


def _read(splits: Mapping[Named, str], folder: Path, end: str, split: Named) -> MaskPairs:
    """Return the pairs of a split. Other files of `gtFine`, such as polygons, are not mentioned."""
    pictures, masks = (list_stems(folder / name / splits[split], left_out=[]) for name in (_PICTURES, _MASKS))
    files = FolderFiles(unique_by_stem(_without(pictures, end=_PICTURE_END)), all_by_stem(_without(masks, end=end)))
    return pair_up(files, folder=split)


def _without(stems: Iterable[tuple[str, str]], *, end: str) -> list[tuple[str, str]]:
    """Return the files whose names have an end, without this end."""
    return [(stem.removesuffix(end), path) for stem, path in stems if stem.endswith(end)]
