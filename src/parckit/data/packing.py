"""Writing tar shards that `parckit.data.shards` reads.

Images keep their bytes. Their order is drawn once from a seed, so that every shard is a fair sample of its split. Tools
that read shards from front to back need that.
"""

import io
import logging
import math
import os
import re
import tarfile
from collections.abc import Generator, Iterable, Mapping, Sequence
from contextlib import contextmanager
from itertools import groupby
from pathlib import Path, PurePath
from typing import NamedTuple, Protocol, TypeVar

import numpy as np

from parckit.contract import InputError, find_leftovers, replacing
from parckit.data.folder import open_folder, split_folders
from parckit.data.shardlist import CLASSES_FILE, parse_labels
from parckit.data.splits import NAMED, Named

_log = logging.getLogger(__name__)

SHARD_SIZE = 5000
"""Images per shard: of ImageNet 550 MB. Few files to keep track of, and none too large to copy."""

Item = TypeVar("Item")


class Track(Protocol):
    """Passes items through, perhaps showing how far the work has come."""

    def __call__(self, items: Sequence[Item], /) -> Iterable[Item]:
        """Return the same items in the same order."""
        ...


class StoredImage(NamedTuple):
    """Where the encoded bytes of an image lie.

    Attributes:
        name: file name with the ending of its format.
        target: class index.
        path: the file that holds it, alone or among others.
        offset: where it begins there, bytes.
        size: bytes; -1 for all that follow.
    """

    name: str
    target: int
    path: Path
    offset: int = 0
    size: int = -1

    def read(self) -> bytes:
        """Return the encoded bytes.

        Raises:
            OSError: if the file cannot be read.
        """
        with self.path.open("rb") as file:
            file.seek(self.offset)
            return file.read(self.size)


def untracked(items: Sequence[Item], /) -> Iterable[Item]:
    """Return the items: the `Track` that shows nothing."""
    return items


def pack_folder(
    source: Path, out: Path, *, shard_size: int = SHARD_SIZE, seed: int = 0, track: Track = untracked
) -> dict[Named, int]:
    """Turn a folder of class folders into shards with the same classes and the same splits.

    A part that `parckit.data.folder` holds out of `train` becomes val shards, so that either source gives the same
    images for every split.

    Args:
        source: folder, as `parckit.data.folder` reads it.
        out: folder that the shards appear in, all at once; must not hold anything yet.
        shard_size: images per shard, at most; a split's shards differ by one image.
        seed: of the images' order.
        track: sees the images of each split as they are written.

    Returns:
        The number of images of every split that was written.

    Raises:
        InputError: if the source is not well formed, or `out` holds something or lies in the source.
    """
    if not source.is_dir():
        raise InputError(f"{source}: no such folder")
    if out.resolve().is_relative_to(source.resolve()):
        raise InputError(f"{out}: lies in {source}, whose next reader would take it for a class")
    given = split_folders(source)
    names: list[Named] = [name for name in NAMED if name in given or (name == "val" and "train" in given)]
    tables = [open_folder(source, split=name) for name in names]
    splits: dict[Named, list[StoredImage]] = {
        name: _stored(table.paths.tolist(), table.targets.tolist()) for name, table in zip(names, tables, strict=True)
    }
    write_shards(splits, out, labels=tables[0].labels, shard_size=shard_size, seed=seed, track=track)
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
    """Write shards of every split and the classes file; `out` appears when all of it is written.

    Raises:
        InputError: if `out` holds something, `shard_size` is not positive or a label cannot stand in a line of text.
        OSError: if an image cannot be read or a shard not be written.
    """
    if shard_size < 1:
        raise InputError(f"shard_size={shard_size}: must be at least 1 image")
    classes = "".join(f"{label}\n" for label in labels)
    if parse_labels(classes, name=CLASSES_FILE) != tuple(labels):
        spoilt = next(label for label in labels if label.splitlines() != [label.strip()])
        raise InputError(f"class {spoilt!r}: its name cannot stand in {CLASSES_FILE}, which has one name a line")
    with filling(out) as temporary:
        (temporary / CLASSES_FILE).write_text(classes, encoding="utf-8")
        for split, images in splits.items():
            order = np.random.default_rng(seed).permutation(len(images)).tolist()
            _write_split(temporary, split, [images[index] for index in order], shard_size=shard_size, track=track)


@contextmanager
def filling(out: Path) -> Generator[Path]:
    """Yield a folder that becomes `out` on success, and tell what killed processes left of one, which may be as large.

    Raises:
        InputError: as `refuse_filled`, or if `out` is or holds the working folder.
    """
    refuse_filled(out)
    for left in find_leftovers(out.parent, names=re.escape(out.name)):
        _log.warning("%s: is left of one that was killed, unless another process is writing it; delete it", left)
    with replacing(out) as temporary:
        temporary.mkdir()
        yield temporary


def refuse_filled(out: Path) -> None:
    """Refuse a folder that would be lost.

    Raises:
        InputError: if `out` is a file or a folder that holds something.
    """
    if out.exists() and not (out.is_dir() and next(out.iterdir(), None) is None):
        raise InputError(f"{out}: exists already; accepted is an empty or new folder")


def _stored(paths: Sequence[bytes], targets: Sequence[int]) -> list[StoredImage]:
    files = map(Path, map(os.fsdecode, paths))
    return [StoredImage(name=file.name, target=target, path=file) for file, target in zip(files, targets, strict=True)]


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
    # mtime 0 and uid 0, so that equal images give byte-identical shards.
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))
