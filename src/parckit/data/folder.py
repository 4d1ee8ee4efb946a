"""Images in class folders: `SOURCE/{train,val,test}/CLASS/IMAGE`, or `SOURCE/CLASS/IMAGE` without splits.

`parckit.data.splits` lists the accepted names of split folders and says what serves as a missing split. A source
without splits counts as `train`, so `val` and `test` are both its held-out 10 %. Every split has the classes of its own
folders: `val` may lack a class of `train` or have one more (`parckit.data.matching`). Hidden folders are not classes.
"""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from torchvision.datasets.folder import make_dataset

from parckit.contract import InputError
from parckit.data.splits import NAMED, SPELLINGS, Named, Part, Split, find_splits, held_out, resolve_split
from parckit.processing import IMAGE_EXTENSIONS, load_image

HOLDOUT_PERCENT = 10
"""Share of every class of `train` that is held out if there is no `val`."""

_SALT = "parckit"
"""Salt of the held-out part. Do not change it: images that existing checkpoints were trained on would be held out."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FolderTable:
    """Image files and their classes.

    Attributes:
        labels: class names of the split by index, sorted.
        served: which part of the source serves as the split.
        targets: class index of every image.
        paths: path of every image, as bytes in one array. A list of strings would be copied into the memory of every
            worker, because reading a string changes its reference count.
    """

    labels: tuple[str, ...]
    served: str
    targets: NDArray[np.int64]
    paths: NDArray[np.bytes_]

    def load(self, index: int) -> Image.Image:
        """Decode image `index`; see `load_image`."""
        return load_image(os.fsdecode(cast("bytes", self.paths[index])))


def open_folder(source: Path, *, split: Split) -> FolderTable:
    """List the images of a split.

    Raises:
        InputError: if there are no class folders, a class of `train` or all other classes have no image, or a folder
            has almost the name of a split, such as `train2`.
    """
    folders = split_folders(source)
    if split == "all":
        labels = tuple(sorted({label for folder in folders.values() for label in _classes(folder)}))
        served, samples = split, [sample for folder in folders.values() for sample in _list_images(folder, labels)]
    else:
        resolved = resolve_split(split, present=folders, source=str(source))
        folder = folders[resolved.name]
        labels = _classes(folder)
        images = _list_images(folder, labels, is_complete=resolved.name == "train")
        samples = _take(images, part=resolved.part, folder=folder, labels=labels)
        served = str(resolved)
    return FolderTable(
        labels=labels,
        served=served,
        targets=np.array([target for _, target in samples], dtype=np.int64),
        paths=np.array([os.fsencode(path) for path, _ in samples]),
    )


def split_folders(source: Path) -> dict[Named, Path]:
    """Return the folder of every split; a source without splits is `train`.

    Raises:
        InputError: if two folders are the same split, or a folder has almost the name of a split.
    """
    names = _subfolders(source)
    spelled = [name for name in names if name.casefold() in SPELLINGS]
    # A class may be called "valid", too. Only the folder of a split has folders in it.
    if not any(name in NAMED or _subfolders(source / name) for name in spelled):
        return {"train": source}
    for name in names:
        if name not in spelled and name.casefold().startswith(NAMED):
            raise InputError(f"{source / name}: unknown split beside {', '.join(spelled)}; use {', '.join(SPELLINGS)}")
    return {split: source / name for split, name in find_splits(spelled, source=str(source)).items()}


def _classes(folder: Path) -> tuple[str, ...]:
    names = _subfolders(folder)
    if not names:
        raise InputError(f"{folder}: has no class folders; accepted are {folder.name}/CLASS/IMAGE files")
    return tuple(names)


def _subfolders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir() if entry.is_dir() and not entry.name.startswith("."))


def _list_images(folder: Path, labels: tuple[str, ...], *, is_complete: bool = False) -> list[tuple[str, int]]:
    """Return path and class index of every image; `is_complete` refuses a class without images."""
    indices = {label: index for index, label in enumerate(labels)}
    samples = make_dataset(folder, indices, extensions=IMAGE_EXTENSIONS, allow_empty=True)
    filled = {target for _, target in samples}
    empty = [label for index, label in enumerate(labels) if index not in filled]
    if empty and (is_complete or not filled):
        raise InputError(
            f"{folder / empty[0]}: class without images; accepted endings are {', '.join(IMAGE_EXTENSIONS)}"
        )
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
    outside = held_out(names, classes=classes, percent=HOLDOUT_PERCENT, salt=_SALT)
    return [sample for index, sample in enumerate(samples) if (index in outside) == (part == "held_out")]
