"""The pictures and masks of a split as the files of a layout give them, before anything is opened."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from parckit.contract import InputError
from parckit.data.mask_coding import MaskCoding
from parckit.data.mask_faults import MaskFault
from parckit.data.splits import NAMED, Named
from parckit.processing import IMAGE_EXTENSIONS, LeftOut
from parckit.processing.listing import pictures


class MaskPair(NamedTuple):
    """A picture and its mask.

    Attributes:
        name: what decides whether the picture is held out; unlike those of all other pictures.
        picture: path of the picture.
        mask: path of the mask.
    """

    name: str
    picture: str
    mask: str


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskPairs:
    """The pictures of a split.

    Attributes:
        pairs: pictures and masks.
        faults: pictures without masks, and masks without pictures.
        left_out: what is not read.
    """

    pairs: list[MaskPair]
    faults: list[MaskFault] = field(default_factory=list[MaskFault])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskLayout:
    """Where a source keeps what.

    Attributes:
        origin: the folder that an error about all masks names.
        labels: class names by index.
        coding: what the pixels mean.
        present: the splits that the source has.
        read: lists the pictures of one of them.
        note: what records say about the source besides the split, such as which folder of masks is taken.
    """

    origin: str
    labels: tuple[str, ...]
    coding: MaskCoding
    present: tuple[Named, ...]
    read: Callable[[Named], MaskPairs]
    note: str = ""


def splits_in_order(splits: Mapping[Named, object]) -> tuple[Named, ...]:
    """Return the splits that a mapping has, in the usual order."""
    return tuple(split for split in NAMED if split in splits)


def files_by_stem(folder: Path, *, left_out: list[LeftOut]) -> dict[str, str]:
    """Return the pictures or masks of a folder and the folders in it: path in the folder without ending -> path.

    Args:
        folder: the folder; without it there are no files.
        left_out: gets what is not read.

    Raises:
        InputError: if two files differ only in their endings.
    """
    by_stem: dict[str, str] = {}
    for path in pictures(str(folder), endings=IMAGE_EXTENSIONS, left_out=left_out) if folder.is_dir() else ():
        stem = Path(path).relative_to(folder).with_suffix("").as_posix()
        if stem in by_stem:
            raise InputError(f"{path}: has the name of {Path(by_stem[stem]).name}; keep one of them")
        by_stem[stem] = path
    return by_stem


def pair_up(pictures_of: Mapping[str, str], masks_of: Mapping[str, str], *, folder: str) -> MaskPairs:
    """Return the pictures and masks of the same stem; those without a partner are faults.

    Args:
        pictures_of: stem -> path of the picture.
        masks_of: stem -> path of the mask.
        folder: begins the names of the pairs, so that those of two splits differ.
    """
    both = [stem for stem in pictures_of if stem in masks_of]
    faults = [
        MaskFault("missing mask", path, "has no mask") for stem, path in pictures_of.items() if stem not in masks_of
    ]
    faults += [
        MaskFault("missing picture", path, "belongs to no picture")
        for stem, path in masks_of.items()
        if stem not in pictures_of
    ]
    return MaskPairs(
        pairs=[MaskPair(f"{folder}/{stem}", pictures_of[stem], masks_of[stem]) for stem in both], faults=faults
    )
