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
from parckit.data.splits import NAMED, SPELLINGS, Named, Split, find_splits, join_labels, part_of, resolve_split
from parckit.data.targets import ClassTargets, LabelTargets
from parckit.processing import IMAGE_EXTENSIONS, LeftOut, load_image, pictures, refused_ending, subfolders
from parckit.processing.listing import Listing


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
        labels, served = join_labels(classes.values()), split
        samples = [sample for folder in classes for sample in _list_images(folder, labels, left_out=left_out)]
    else:
        resolved = resolve_split(split, present=folders, source=str(source))
        folder, served = folders[resolved.name], str(resolved)
        labels = _classes(folder, left_out=left_out)
        samples = _list_images(folder, labels, left_out=left_out, is_complete=resolved.name == "train")
        names = [path[len(str(folder)) + 1 :].replace(os.sep, "/") for path, _ in samples]
        targets = np.array([target for _, target in samples], dtype=np.int64)
        kept = part_of(names, targets=targets, labels=labels, part=resolved.part, source=str(folder))
        samples = [samples[index] for index in kept]
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
        left_out += [*beside, *others, *_misplaced(source, listing)]
    return {split: source / name for split, name in find_splits(spelled, source=str(source)).items()}


def _classes(folder: Path, *, left_out: list[LeftOut]) -> tuple[str, ...]:
    """Return the names of the class folders of a split."""
    listing = subfolders(str(folder), left_out=left_out)
    if not listing.folders:
        raise InputError(f"{folder}: has no class folders; accepted are {folder.name}/CLASS/IMAGE files")
    left_out += _misplaced(folder, listing)
    return tuple(listing.folders)


def _misplaced(folder: Path, listing: Listing) -> list[LeftOut]:
    """Return the pictures that lie beside the folders of classes or splits. Other files there are no surprise."""
    pictures_beside = [name for name in listing.files if name.lower().endswith(IMAGE_EXTENSIONS)]
    dangling = sorted(listing.dangling.difference(pictures_beside))
    misplaced = [LeftOut(str(folder / name), "place", "not in a class folder") for name in pictures_beside]
    return [*misplaced, *(refused_ending(str(folder / name), is_dangling=True) for name in dangling)]


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
