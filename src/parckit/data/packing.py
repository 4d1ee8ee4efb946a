"""Writing tar shards for `parckit.data.shards`.

The bytes of the images stay the same. The images are shuffled once with a seed, so every shard is a random sample of
its split. Tools that read shards from front to back need that.
"""

import io
import logging
import math
import os
import re
import tarfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import groupby
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from parckit.contract import InputError, check_label_encoding, find_leftovers, parse_labels, replacing
from parckit.data.folder import open_folder, split_folders
from parckit.data.lists import is_list, list_splits, open_list
from parckit.data.shardlist import CLASSES_FILE
from parckit.data.splits import NAMED, Named, join_labels
from parckit.processing import FORMAT_OF_EXTENSION, find_format, readable_formats

_log = logging.getLogger(__name__)

SHARD_SIZE = 5000
"""Images per shard; a shard of ImageNet has about 550 MB. So there are few files, and none is too large to copy."""

Item = TypeVar("Item")


class Track(Protocol):
    """Returns the items that it gets, and may show the progress of the work."""

    def __call__(self, items: Sequence[Item], /) -> Iterable[Item]:
        """Return the same items in the same order."""
        ...


class StoredImage(NamedTuple):
    """Where the encoded bytes of an image are stored.

    Attributes:
        name: the image's file name with the ending of its format.
        target: class index.
        path: the file to read: the image itself, or an archive with many images.
        offset: where the image begins in the file, bytes.
        size: length of the image, bytes; -1 reads to the end of the file.
    """

    name: str
    target: int
    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            InputError: if there is no such file; reading a pipe would wait for ever.
            OSError: if the file cannot be read.
        """
        if not self.path.is_file():
            raise InputError(f"{self.path}: no such image file")
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def untracked(items: Sequence[Item], /) -> Iterable[Item]:
    """Return the items and show nothing. This is the default `Track`."""
    return items


def pack(
    source: str, out: Path, *, shard_size: int = SHARD_SIZE, seed: int = 0, track: Track = untracked
) -> dict[Named, int]:
    """Turn a folder of class folders, or a list of files, into shards with the same splits and all classes.

    The part that is held out of `train` becomes val shards. So the shards give the same images as the source for every
    split.

    Args:
        source: folder, as `parckit.data.folder` reads it; or a list or a pattern of lists (`parckit.data.lists`).
        out: folder of the shards; must be new or empty. It appears when all shards are written.
        shard_size: most images per shard; the shards of a split differ by at most one image.
        seed: seed of the order of the images.
        track: gets the images of every split while they are written.

    Returns:
        The number of images written per split.

    Raises:
        InputError: if the source is malformed, or `out` is not empty, is the source or is inside the source.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        _refuse_inside(out, folder)
        open_split, present = partial(open_folder, folder), list(split_folders(folder))
    elif is_list(source):
        open_split, present = partial(open_list, source), list_splits(source)
    else:
        raise InputError(f"{source}: no such folder; accepted are a folder and a list of files (.csv, .txt)")
    names: list[Named] = [name for name in NAMED if name in present or (name == "val" and "train" in present)]
    tables = [open_split(split=name) for name in names]
    labels = join_labels(table.labels for table in tables)
    index_of = {label: index for index, label in enumerate(labels)}
    splits: dict[Named, list[StoredImage]] = {
        name: _stored(table.paths.tolist(), [index_of[table.labels[target]] for target in table.targets.tolist()])
        for name, table in zip(names, tables, strict=True)
    }
    write_shards(splits, out, labels=labels, shard_size=shard_size, seed=seed, track=track)
    return {name: len(images) for name, images in splits.items()}


def write_shards(
    splits: Mapping[Named, Sequence[StoredImage]],
    out: Path,
    *,
    labels: Sequence[str],
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    track: Track = untracked,
) -> None:
    """Write the shards of every split and the classes file. `out` appears when all files are written.

    Raises:
        InputError: if `out` is not empty, `shard_size` is not positive, or a label is not a line of text.
        OSError: if an image cannot be read or a shard cannot be written.
    """
    if shard_size < 1:
        raise InputError(f"shard_size={shard_size}: must be at least 1 image")
    check_label_encoding(labels)
    classes = "".join(f"{label}\n" for label in labels)
    if parse_labels(classes, name=CLASSES_FILE) != tuple(labels):
        refused = next(label for label in labels if label.splitlines() != [label.strip()])
        raise InputError(f"class {refused!r}: cannot be written to {CLASSES_FILE}, which has one class name per line")
    with filling(out) as temporary:
        (temporary / CLASSES_FILE).write_text(classes, encoding="utf-8")
        for split, images in splits.items():
            order = np.random.default_rng(seed).permutation(len(images)).tolist()
            _write_split(temporary, split, [images[index] for index in order], shard_size=shard_size, track=track)


@contextmanager
def filling(out: Path) -> Generator[Path]:
    """Yield a temporary folder that becomes `out` on success.

    A killed process leaves its temporary folder, which may be large. Such folders are named in a warning.

    Raises:
        InputError: if `out` exists and is not an empty folder, or if `out` contains the working folder.
    """
    refuse_filled(out)
    for leftover in find_leftovers(out.parent, names=re.escape(out.name)):
        _log.warning("%s: was left by a killed process; delete it unless another process is writing it", leftover)
    with replacing(out) as temporary:
        temporary.mkdir()
        yield temporary


def refuse_filled(out: Path) -> None:
    """Refuse to replace existing files.

    Raises:
        InputError: if `out` is a file or a folder that is not empty.
    """
    if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise InputError(f"{out}: exists already; accepted is an empty or new folder")


def _refuse_inside(out: Path, folder: Path) -> None:
    if out.resolve() == folder.resolve():
        raise InputError(f"{out}: is the folder of the images itself; name another folder for the shards")
    if out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out}: is inside {folder}, where it would look like a class; choose a folder outside")


def _stored(paths: Sequence[bytes], targets: Sequence[int]) -> list[StoredImage]:
    files = map(Path, map(os.fsdecode, paths))
    return [
        StoredImage(name=_readable_name(file), target=target, path=file)
        for file, target in zip(files, targets, strict=True)
    ]


def _readable_name(file: Path) -> str:
    """Return a name whose ending is read from shards. A list may name files of any ending.

    Raises:
        InputError: if the file is no image.
    """
    if file.suffix.lower() in FORMAT_OF_EXTENSION:
        return file.name
    if not file.is_file():
        raise InputError(f"{file}: no such image file")
    name = find_format(file)
    if name is None:
        raise InputError(f"{file}: not an image of a known format ({', '.join(readable_formats())})")
    return file.name + next(ending for ending, promised in FORMAT_OF_EXTENSION.items() if promised == name)


def _write_split(folder: Path, split: Named, images: Sequence[StoredImage], *, shard_size: int, track: Track) -> None:
    shards = math.ceil(len(images) / shard_size)
    numbered = enumerate(track(images))
    for shard, part in groupby(numbered, key=lambda pair: pair[0] * shards // len(images)):
        with tarfile.open(folder / f"{split}-{shard:04}.tar", "w", format=tarfile.USTAR_FORMAT) as archive:
            for number, image in part:
                key = f"{number:08}"
                _add(archive, key + PurePath(image.name).suffix.lower(), image.read())
                _add(archive, f"{key}.cls", str(image.target).encode())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    # TarInfo has mtime 0 and uid 0, so equal images give byte-identical shards.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
