"""The pictures and masks of a split as the files of a layout give them, before anything is opened."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from parckit.contract import InputError
from parckit.data.faults import Fault
from parckit.data.mask_coding import MaskCoding
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
        faults: pictures without a mask or with two, and masks without a picture.
        left_out: what is not read.
    """

    pairs: list[MaskPair]
    faults: list[Fault] = field(default_factory=list[Fault])
    left_out: list[LeftOut] = field(default_factory=list[LeftOut])


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskLayout:
    """Where a source keeps what.

    Attributes:
        labels: class names by index.
        coding: what the pixels mean.
        present: the splits that the source has.
        read: lists the pictures of one of them.
        note: what records say about the source besides the split, such as which folder of masks is taken.
    """

    labels: tuple[str, ...]
    coding: MaskCoding
    present: tuple[Named, ...]
    read: Callable[[Named], MaskPairs]
    note: str = ""


def splits_in_order(splits: Mapping[Named, object]) -> tuple[Named, ...]:
    """Return the splits that a mapping has, in the usual order."""
    return tuple(split for split in NAMED if split in splits)


class FolderFiles(NamedTuple):
    """The files of a folder of pictures and of its folder of masks.

    Attributes:
        pictures: path in the folder of pictures without ending -> path.
        masks: the same of the picture -> paths of its masks; of masks without a picture, that of the mask.
    """

    pictures: Mapping[str, str]
    masks: Mapping[str, Sequence[str]]


def list_stems(folder: Path, *, left_out: list[LeftOut]) -> list[tuple[str, str]]:
    """Return the pictures or masks of a folder and the folders in it: path in the folder without ending, and path.

    Args:
        folder: the folder; without it there are no files.
        left_out: gets what is not read.
    """
    paths = pictures(str(folder), endings=IMAGE_EXTENSIONS, left_out=left_out) if folder.is_dir() else ()
    return [(Path(path).relative_to(folder).with_suffix("").as_posix(), path) for path in paths]


def unique_by_stem(stems: Iterable[tuple[str, str]]) -> dict[str, str]:
    """Return stem -> path.

    Raises:
        InputError: if two files differ only in their endings.
    """
    path_of: dict[str, str] = {}
    for stem, path in stems:
        if stem in path_of:
            raise InputError(f"{path}: has the name of {Path(path_of[stem]).name}; keep one of them")
        path_of[stem] = path
    return path_of


def all_by_stem(stems: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return stem -> all paths."""
    paths_of: dict[str, list[str]] = {}
    for stem, path in stems:
        paths_of.setdefault(stem, []).append(path)
    return paths_of


def pair_up(files: FolderFiles, *, folder: str) -> MaskPairs:
    """Return the pictures and their masks; those without a partner, and pictures with two masks, are faults.

    Args:
        files: the pictures and the masks.
        folder: begins the names of the pairs, so that those of two splits differ.
    """
    pairs: list[MaskPair] = []
    faults: list[Fault] = []
    for stem, picture in files.pictures.items():
        masks = files.masks.get(stem, ())
        if len(masks) == 1:
            pairs.append(MaskPair(f"{folder}/{stem}", picture, masks[0]))
        else:
            faults.append(two_masks(picture, masks) if masks else Fault("missing mask", picture, "has no mask"))
    faults += [
        Fault("missing picture", path, "belongs to no picture")
        for stem, masks in files.masks.items()
        for path in masks
        if stem not in files.pictures
    ]
    return MaskPairs(pairs=pairs, faults=faults)


def two_masks(picture: str, masks: Sequence[str]) -> Fault:
    """Return the fault of a picture that has several masks. It names all of them."""
    return Fault("two masks", picture, " and ".join(Path(path).name for path in masks))
