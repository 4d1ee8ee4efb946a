"""Tar shards on disk, read by index, so that the order is seeded and every image can be reached at once.

The first opening reads all tar headers and labels, and keeps what it found in `$XDG_CACHE_HOME/parckit/shards`
(`~/.cache/...` if unset), where a compressed shard is unpacked to as well. That folder may be deleted whenever nothing
runs.
"""

import gzip
import hashlib
import os
import shutil
import tarfile
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, replacing
from parckit.data.shardlist import (
    CLASSES_FILE,
    SHARD_EXTENSIONS,
    choose_shards,
    expand_braces,
    image_and_label,
    parse_labels,
    parse_target,
)
from parckit.data.splits import Split
from parckit.processing import IMAGE_EXTENSIONS, decode_image

_GLOB = "*?["


class _Entry(NamedTuple):
    """Where a sample's image lies in its unpacked shard, bytes."""

    key: str
    target: int
    offset: int
    size: int


class _Index(NamedTuple):
    """The entries of a shard, as columns."""

    keys: NDArray[np.str_]
    targets: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTable:
    """Samples of some shards, in their order.

    It holds arrays and paths only: workers share the arrays, and each read opens its file anew (6 microseconds beside
    60 of decoding a 32 x 32 JPEG), so no handle ever crosses a fork.

    Attributes:
        labels: class names by index.
        served: what of the source serves as the split.
        targets: class index of every sample.
        shards: the shards as given.
        tars: the same, unpacked.
        keys: key of every sample in its shard.
        where: (N, 3): shard number, offset and size of every image, bytes.
    """

    labels: tuple[str, ...]
    served: str
    targets: NDArray[np.int64]
    shards: tuple[Path, ...]
    tars: tuple[Path, ...]
    keys: NDArray[np.str_]
    where: NDArray[np.int64]

    def load(self, index: int) -> Image.Image:
        """Decode the image of sample `index`; an error names shard and key."""
        shard, offset, size = cast("list[int]", self.where[index].tolist())
        name = f"{self.shards[shard]}:{self.keys[index]}"
        try:
            with self.tars[shard].open("rb", buffering=0) as file:
                file.seek(offset)
                data = file.read(size)
        except OSError as error:
            raise InputError(f"{name}: cannot be read ({error})") from error
        return decode_image(data, name=name)


def is_shard_folder(folder: Path) -> bool:
    """Tell whether a folder holds shards; beside folders of images a tar is what they were unpacked from."""
    visible = _visible(folder)
    holds_shards = any(entry.name.endswith(SHARD_EXTENSIONS) for entry in visible)
    return holds_shards and not any(_holds_images(entry) for entry in visible if entry.is_dir())


def _visible(folder: Path) -> list[Path]:
    """Leave out what file managers put there, such as macOS's `._train-0000.tar`."""
    return [entry for entry in folder.iterdir() if not entry.name.startswith(".")]


def _holds_images(folder: Path) -> bool:
    return any(name.lower().endswith(IMAGE_EXTENSIONS) for _, _, names in os.walk(folder) for name in names)


def is_shard_pattern(source: str) -> bool:
    """Tell whether `source` names shard files, perhaps by braces or wildcards."""
    return source.endswith(SHARD_EXTENSIONS) or any(mark in source for mark in "{" + _GLOB)


def open_shards(source: str, *, split: Split) -> ShardTable:
    """Index a split's shards.

    Args:
        source: folder of shards, or their path with braces (`train-{0000..0008}.tar`) or wildcards in the file name.
        split: which one; see `parckit.data.shardlist`.

    Raises:
        InputError: if no shard is found, one is broken, or a sample lacks its image or a valid label. Without a classes
            file, classes are named by their index, up to the highest in all shards of the source.
    """
    paths = _list_shards(source)
    chosen, served = choose_shards([str(path) for path in paths], split=split, source=source)
    classes = paths[0].parent / CLASSES_FILE
    labels = parse_labels(_read_text(classes), name=str(classes)) if classes.is_file() else None
    indices = {str(path): _index(path) for path in paths if labels is None or str(path) in chosen}
    if labels is None:
        highest = max((index.targets.max() for index in indices.values() if len(index.targets)), default=-1)
        labels = tuple(str(target) for target in range(highest + 1))
    for shard in chosen:
        _check_targets(indices[shard], labels=labels, shard=shard)
    own = [indices[shard] for shard in chosen]
    keys, targets, offsets, sizes = (np.concatenate(columns) for columns in zip(*own, strict=True))
    if not len(targets):
        raise InputError(
            f"{chosen[0]}: shard without samples; accepted are pairs KEY.jpg (or another image) and KEY.cls"
        )
    numbers = np.repeat(np.arange(len(own)), [len(index.targets) for index in own])
    return ShardTable(
        labels=labels,
        served=served,
        targets=targets,
        shards=tuple(Path(shard) for shard in chosen),
        tars=tuple(_unpacked(Path(shard)) for shard in chosen),
        keys=keys,
        where=np.stack([numbers, offsets, sizes], axis=1),
    )


def _check_targets(index: _Index, *, labels: tuple[str, ...], shard: str) -> None:
    beyond = np.flatnonzero(index.targets >= len(labels))
    if len(beyond):
        key, target = index.keys[beyond[0]], index.targets[beyond[0]]
        parse_target(str(target).encode(), labels=labels, name=f"{shard}:{key}")


def _list_shards(source: str) -> list[Path]:
    folder = Path(source).expanduser()
    if folder.is_dir():
        return sorted(entry for entry in _visible(folder) if entry.name.endswith(SHARD_EXTENSIONS))
    paths: list[Path] = []
    for name in expand_braces(source):
        path = Path(name).expanduser()
        found = sorted(path.parent.glob(path.name)) if any(mark in path.name for mark in _GLOB) else [path]
        if not found or not found[0].is_file():
            raise InputError(f"{path}: no such shard")
        paths.extend(found)
    return paths


def _read_text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as UTF-8 text ({error})") from error


def _index(shard: Path) -> _Index:
    """Return what is in a shard, from the cache if it is the shard that was read before."""
    cached = _in_cache(shard, ending="index.npz")
    # What is missing, or was cut off by a power failure, is made anew.
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile), cached.open("rb") as file:
        columns = np.load(file)
        return _Index(*(columns[name] for name in _Index._fields))
    try:
        with tarfile.open(_unpacked(shard), "r:") as archive:
            entries = list(_entries(archive, shard=shard))
            require_end(_unpacked(shard), at=archive.offset)
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{shard}: broken shard ({error})") from error
    index = _Index(
        keys=np.array([entry.key for entry in entries], dtype=np.str_),
        targets=np.array([entry.target for entry in entries], dtype=np.int64),
        offsets=np.array([entry.offset for entry in entries], dtype=np.int64),
        sizes=np.array([entry.size for entry in entries], dtype=np.int64),
    )
    # Who cannot write there reads the shards again at the next start.
    with suppress(OSError), replacing(cached) as temporary, temporary.open("wb") as file:
        np.savez(file, **index._asdict())
    return index


def require_end(path: Path, *, at: int) -> None:
    """Refuse a tar that was cut between two members, which Python takes for a whole one: only the end mark tells.

    Args:
        path: the tar.
        at: where the last member ends, bytes: the archive's `offset` after all members were read.

    Raises:
        tarfile.ReadError: if the end mark is not there.
    """
    with path.open("rb") as file:
        file.seek(at)
        if file.read(tarfile.BLOCKSIZE) != bytes(tarfile.BLOCKSIZE):
            raise tarfile.ReadError("cut: the tar's end mark is missing")


def _entries(archive: tarfile.TarFile, *, shard: Path) -> Iterator[_Entry]:
    files = (member for member in archive if member.isreg())
    for key, members in groupby(files, key=lambda member: _key(member.name)):
        if key is None:
            continue
        name = f"{shard}:{key}"
        pair = image_and_label({member.name[len(key) + 1 :].lower(): member for member in members}, name=name)
        if pair is None:
            continue
        image, label = pair
        content = archive.extractfile(label)
        target = parse_target(content.read() if content else b"", labels=None, name=name)
        yield _Entry(key=key, target=target, offset=image.offset_data, size=image.size)


def _key(name: str) -> str | None:
    """Return a member's name up to the first dot of its file name; None if it is hidden or has no dot."""
    folder, slash, file = name.rpartition("/")
    stem, dot, _ = file.partition(".")
    return folder + slash + stem if stem and dot else None


def _unpacked(shard: Path) -> Path:
    """Return the shard itself if it is plain, else its unpacked copy in the cache."""
    if shard.name.endswith(".tar"):
        return shard
    copy = _in_cache(shard, ending="tar")
    if copy.is_file():
        return copy
    try:
        with replacing(copy) as temporary, gzip.open(shard) as packed, temporary.open("wb") as plain:
            shutil.copyfileobj(packed, plain)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(f"{shard}: broken shard ({error})") from error
    except OSError as error:
        raise InputError(
            f"{shard}: cannot be unpacked to {copy.parent} (set XDG_CACHE_HOME to move it): {error}"
        ) from error
    return copy


def _in_cache(shard: Path, *, ending: str) -> Path:
    """Return where the cache keeps what was made of a shard; a changed one has another place."""
    root = os.environ.get("XDG_CACHE_HOME")
    folder = (Path(root) if root else Path.home() / ".cache") / "parckit" / "shards"
    status = shard.stat()
    identity = f"{shard.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    return folder / f"{shard.name.partition('.')[0]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.{ending}"
