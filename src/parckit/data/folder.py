"""Images in class folders: `SOURCE/{train,val,test}/CLASS/IMAGE`, or `SOURCE/CLASS/IMAGE` without splits.

`parckit.data.splits` lists the accepted names of split folders and says what serves as a missing split. A source
without splits counts as `train`, so `val` and `test` are both its held-out 10 %. Every split has the classes of its own
folders: `val` may lack a class of `train` or have one more (`parckit.data.matching`). `parckit.processing.listing` says
which files and folders are left out, such as hidden ones.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.splits import NAMED, SPELLINGS, Named, Part, Split, find_splits, held_out, resolve_split
from parckit.data.targets import ClassTargets, LabelTargets, strata_of
from parckit.processing import IMAGE_EXTENSIONS, LeftOut, load_image, pictures, refused_ending, subfolders

HOLDOUT_PERCENT = 10
"""Share of every class of `train` that is held out if there is no `val`."""

_SALT = "parckit"
"""Salt of the held-out part. Do not change it: images that existing checkpoints were trained on would be held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FileTable:
    """Image files and their classes.

    Attributes:
        labels: class names of the split by index, sorted.
        served: which part of the source serves as the split.
        targets: class or labels of every image.
        paths: path of every image, as bytes in one array. A list of strings would be copied into the memory of every
            worker, because reading a string changes its reference count.
        left_out: what is not read.
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    paths: NDArray[np.bytes_]
    left_out: tuple[LeftOut, ...] = ()

    def name(self, index: int) -> str:
        """Return the path of image `index`."""
        return os.fsdecode(cast("bytes", self.paths[index]))

    def load(self, index: int) -> Image.Image:
        """Decode image `index`; see `load_image`."""
        return load_image(self.name(index))

    def read(self, index: int) -> bytes:
        """Return the bytes of the file of image `index`."""
        path = Path(self.name(index))
        # Reading a pipe would wait for ever.
        if not path.is_file():
            raise InputError(f"{path}: no such image file")
        return path.read_bytes()


def open_folder(source: Path, *, split: Split) -> FileTable:
    """List the images of a split.

    Raises:
        InputError: if there are no class folders, a class of `train` or all other classes have no image, or a folder
            has almost the name of a split, such as `train2`.
    """
    left_out: list[LeftOut] = []
    folders = split_folders(source, left_out=left_out)
    if split == "all":
        classes = {folder: _classes(folder, left_out=left_out) for folder in folders.values()}
        labels = tuple(sorted({label for names in classes.values() for label in names}))
        served = split
        samples = [sample for folder in classes for sample in _list_images(folder, labels, left_out=left_out)]
    else:
        resolved = resolve_split(split, present=folders, source=str(source))
        folder = folders[resolved.name]
        labels = _classes(folder, left_out=left_out)
        images = _list_images(folder, labels, left_out=left_out, is_complete=resolved.name == "train")
        samples = _take(images, part=resolved.part, folder=folder, labels=labels)
        served = str(resolved)
        unusable = [other for other in folders.values() if not subfolders(str(other), left_out=[]).folders]
        left_out += [LeftOut(str(other), "split", "has no class folders") for other in unusable]
    return FileTable(
        labels=labels,
        served=served,
        targets=np.array([target for _, target in samples], dtype=np.int64),
        paths=np.array([os.fsencode(path) for path, _ in samples]),
        left_out=tuple(left_out),
    )


def split_folders(source: Path, *, left_out: list[LeftOut] | None = None) -> dict[Named, Path]:
    """Return the folder of every split; a source without splits is `train`.

    Args:
        source: the folder.
        left_out: gets what lies beside the folders of the splits and is not read.

    Raises:
        InputError: if two folders are the same split, or a folder has almost the name of a split.
    """
    beside: list[LeftOut] = []
    listing = subfolders(str(source), left_out=beside)
    names = listing.folders
    spelled = [name for name in names if name.casefold() in SPELLINGS]
    # A class may be called "valid", too. Only the folder of a split has folders in it.
    if not any(name in NAMED or subfolders(str(source / name), left_out=[]).folders for name in spelled):
        return {"train": source}
    for name in names:
        if name not in spelled and name.casefold().startswith(NAMED):
            raise InputError(f"{source / name}: unknown split beside {', '.join(spelled)}; use {', '.join(SPELLINGS)}")
    if left_out is not None:
        others = [LeftOut(str(source / name), "place", "beside the splits") for name in names if name not in spelled]
        left_out += [*beside, *others, *_misplaced(source, listing.files)]
    return {split: source / name for split, name in find_splits(spelled, source=str(source)).items()}


def _classes(folder: Path, *, left_out: list[LeftOut]) -> tuple[str, ...]:
    """Return the names of the class folders of a split."""
    listing = subfolders(str(folder), left_out=left_out)
    if not listing.folders:
        raise InputError(f"{folder}: has no class folders; accepted are {folder.name}/CLASS/IMAGE files")
    left_out += _misplaced(folder, listing.files)
    return tuple(listing.folders)


def _misplaced(folder: Path, files: list[str]) -> list[LeftOut]:
    """Return the pictures that lie beside the folders of classes or splits. Other files there are no surprise."""
    paths = [str(folder / name) for name in files]
    pictures_beside = [path for path in paths if path.lower().endswith(IMAGE_EXTENSIONS)]
    dangling = [path for path in paths if not path.lower().endswith(IMAGE_EXTENSIONS) and not Path(path).exists()]
    misplaced = [LeftOut(path, "place", "not in a class folder") for path in pictures_beside]
    return [*misplaced, *map(refused_ending, dangling)]


def _list_images(
    folder: Path, labels: tuple[str, ...], *, left_out: list[LeftOut], is_complete: bool = False
) -> list[tuple[str, int]]:
    """Return path and class index of every image; `is_complete` refuses a class without images."""
    samples: list[tuple[str, int]] = []
    empty: list[str] = []
    for index, label in enumerate(labels):
        present = (folder / label).is_dir()
        paths = pictures(str(folder / label), endings=IMAGE_EXTENSIONS, left_out=left_out) if present else []
        empty += [] if paths else [label]
        samples += [(path, index) for path in paths]
    if empty and (is_complete or not samples):
        accepted = f"accepted endings are {', '.join(IMAGE_EXTENSIONS)}"
        raise InputError(f"{folder / empty[0]}: class without images; {accepted}")
    return samples


def _take(
    samples: list[tuple[str, int]], *, part: Part, folder: Path, labels: tuple[str, ...]
) -> list[tuple[str, int]]:
    """Return the samples that belong to a part of a split."""
    if part == "whole":
        return samples
    classes = [target for _, target in samples]
    if 1 in (counts := np.bincount(classes).tolist()):
        lone = folder / labels[counts.index(1)]
        raise InputError(f"{lone}: one image cannot be both trained on and held out; add images, or use split 'all'")
    names = [path[len(str(folder)) + 1 :].replace(os.sep, "/") for path, _ in samples]
    outside = choose_held_out(names, classes=classes)
    return [sample for index, sample in enumerate(samples) if (index in outside) == (part == "held_out")]


def choose_held_out(names: list[str], *, classes: list[int]) -> set[int]:
    """Return the indices of the samples that are held out of `train`. Every class has two samples or more.

    Args:
        names: different names, which decide what is held out.
        classes: class of every sample.
    """
    return held_out(names, classes=classes, percent=HOLDOUT_PERCENT, salt=_SALT)


def choose_held_out_images(names: list[str], *, targets: LabelTargets, source: str) -> set[int]:
    """Return the indices of the images with several labels that are held out of `train`, some of every stratum.

    An image that is alone in its stratum is trained on.

    Args:
        names: different names, which decide what is held out.
        targets: labels of every image.
        source: name of the source in errors.

    Raises:
        InputError: if every image is alone.
    """
    strata = strata_of(targets)
    members = np.flatnonzero(np.bincount(strata)[strata] > 1).tolist()
    if not members:
        raise InputError(f"{source}: has too few images to hold out some of every label; add images")
    outside = choose_held_out([names[index] for index in members], classes=strata[members].tolist())
    return {members[index] for index in outside}
