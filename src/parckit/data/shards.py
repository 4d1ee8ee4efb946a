"""Tar shards on disk, read by index: any image can be read directly, so a seed can decide the order.

Opening a shard for the first time reads all its tar headers and labels. They are stored as an index in
`$XDG_CACHE_HOME/parckit/shards` (`~/.cache/parckit/shards` if the variable is not set). Compressed shards are unpacked
to the same folder. It may be deleted when no parckit process is running.
"""

import hashlib
import tarfile
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple, cast
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, cache_folder, read_class_names, replacing
from parckit.data.archives import open_tar, regular_members, unpack
from parckit.data.shardlist import (
    CLASSES_FILE,
    GLOB,
    SHARD_EXTENSIONS,
    choose_shards,
    expand_paths,
    find_samples,
    parse_target,
)
from parckit.data.splits import Split
from parckit.data.targets import ClassTargets, LabelTargets
from parckit.processing import IMAGE_EXTENSIONS, LeftOut, decode_image, pictures, refused_ending, subfolders

_LONGEST_LABEL = 32
"""Bytes. A `.cls` file holds one number."""


class _Entry(NamedTuple):
    """Where the image of a sample is in the unpacked shard; offset and size in bytes."""

    key: str
    target: int
    offset: int
    size: int


class _Index(NamedTuple):
    """The entries of a shard, one array per column."""

    keys: NDArray[np.str_]
    targets: NDArray[np.int64]
    offsets: NDArray[np.int64]
    sizes: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True, slots=True)
class ShardTable:
    """The samples of some shards, in the order of the shards.

    The table holds only arrays and paths. Loader workers share the arrays. Every read opens its file again, so no open
    file crosses a fork. That takes 6 microseconds; decoding a 32 x 32 JPEG takes 60.

    Attributes:
        labels: class names by index.
        served: which part of the source serves as the split.
        targets: class or labels of every sample.
        shards: paths of the shards.
        tars: paths of the same shards, unpacked.
        keys: key of every sample in its shard.
        where: (N, 3), for every image: index of its shard, offset and size in bytes.
        left_out: files beside the shards that are not read.
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    shards: tuple[Path, ...]
    tars: tuple[Path, ...]
    keys: NDArray[np.str_]
    where: NDArray[np.int64]
    left_out: tuple[LeftOut, ...] = ()

    def name(self, index: int) -> str:
        """Return the shard and the key of sample `index`."""
        return f"{self.shards[int(self.where[index, 0])]}:{self.keys[index]}"

    def load(self, index: int) -> Image.Image:
        """Decode the image of sample `index`. Errors name the shard and the key."""
        try:
            data = self.read(index)
        except OSError as error:
            raise InputError(f"{self.name(index)}: cannot be read ({error})") from error
        return decode_image(data, name=self.name(index))

    def read(self, index: int) -> bytes:
        """Return the bytes of the image of sample `index`."""
        shard, offset, size = cast("list[int]", self.where[index].tolist())
        with self.tars[shard].open("rb", buffering=0) as file:
            file.seek(offset)
            return file.read(size)


def is_shard_folder(folder: Path) -> bool:
    """Tell whether a folder holds shards. A tar beside folders of images is no shard; they may be its content."""
    listing = subfolders(str(folder), left_out=[])
    holds_shards = any(name.endswith(SHARD_EXTENSIONS) for name in listing.files)
    return holds_shards and not any(
        pictures(str(folder / name), endings=IMAGE_EXTENSIONS, left_out=[]) for name in listing.folders
    )


def is_shard_pattern(source: str) -> bool:
    """Tell whether `source` is the path of a shard, or a pattern with braces or wildcards."""
    return source.endswith(SHARD_EXTENSIONS) or any(mark in source for mark in "{" + GLOB)


def open_shards(source: str, *, split: Split) -> ShardTable:
    """Open the shards of a split.

    Without a classes file, the names of the classes are their indices, from 0 to the highest index in the shards of the
    split. A held-out part of `train` has the classes of `train`.

    Args:
        source: folder of shards, or a path with braces (`train-{0000..0008}.tar`) or with wildcards in the file name.
        split: the wanted split; see `parckit.data.shardlist`.

    Raises:
        InputError: if there is no shard, a shard is broken, or a sample lacks its image or a valid label.
    """
    left_out: list[LeftOut] = []
    paths = list_shards(source, left_out=left_out)
    shards, siblings, served = choose_shards([str(path) for path in paths], split=split, source=source)
    labels, indices = _index_all(shards, siblings=siblings, classes=paths[0].parent / CLASSES_FILE)
    # Join the indices of the split's shards to one table.
    keys, targets, where = _join([indices[shard] for shard in shards])
    if not len(targets):
        for shard in map(Path, shards):
            _forget(shard)
        raise InputError(
            f"{shards[0]}: shard without samples; accepted are pairs KEY.jpg (or another image) and KEY.cls"
        )
    return ShardTable(
        labels=labels,
        served=served,
        targets=targets,
        shards=tuple(Path(shard) for shard in shards),
        tars=tuple(_unpacked(Path(shard)) for shard in shards),
        keys=keys,
        where=where,
        left_out=tuple(left_out),
    )


def _index_all(
    shards: Sequence[str], *, siblings: Sequence[str], classes: Path
) -> tuple[tuple[str, ...], dict[str, _Index]]:
    """Return the class names, and the index of every shard.

    Args:
        shards: the shards to index.
        siblings: all shards of the same split; without a classes file they decide the classes.
        classes: path of the classes file.
    """
    if classes.is_file():
        labels = read_class_names(classes)
        indices = {shard: _index(Path(shard)) for shard in shards}
    else:
        indices = {shard: _index(Path(shard)) for shard in siblings}
        highest = max((index.targets.max() for index in indices.values() if len(index.targets)), default=-1)
        labels = tuple(str(target) for target in range(highest + 1))
    for shard in shards:
        _check_targets(indices[shard], labels=labels, shard=shard)
    return labels, indices


def _join(indices: Sequence[_Index]) -> tuple[NDArray[np.str_], NDArray[np.int64], NDArray[np.int64]]:
    """Return `keys`, `targets` and `where` of a `ShardTable` with these shards."""
    keys, targets, offsets, sizes = (np.concatenate(columns) for columns in zip(*indices, strict=True))
    shards = np.repeat(np.arange(len(indices)), [len(index.targets) for index in indices])
    return keys, targets, np.stack([shards, offsets, sizes], axis=1)


def _check_targets(index: _Index, *, labels: tuple[str, ...], shard: str) -> None:
    too_high = np.flatnonzero(index.targets >= len(labels))
    if len(too_high):
        key, target = index.keys[too_high[0]], index.targets[too_high[0]]
        parse_target(str(target).encode(), labels=labels, name=f"{shard}:{key}")


def list_shards(source: str, *, left_out: list[LeftOut]) -> list[Path]:
    """Return the shards of a source in order; `left_out` gets the other files of their folder.

    Raises:
        InputError: if a shard is missing.
    """
    folder = Path(source).expanduser()
    if folder.is_dir():
        listing = subfolders(str(folder), left_out=left_out)
        for name in listing.files:
            path, is_image = str(folder / name), name.lower().endswith(IMAGE_EXTENSIONS)
            if is_image:
                left_out.append(LeftOut(path, "place", "beside shards"))
            elif name != CLASSES_FILE and not name.endswith(SHARD_EXTENSIONS):
                left_out.append(refused_ending(path, is_dangling=name in listing.dangling))
        return [folder / name for name in listing.files if name.endswith(SHARD_EXTENSIONS)]
    return expand_paths(source, kind="shard")


def _index(shard: Path) -> _Index:
    """Return the index of a shard, from the cache if the shard has not changed since it was read."""
    cached = _in_cache(shard, ending="index2.npz")
    # If the cached index is missing, or incomplete after a power failure, the shard is read again.
    with suppress(OSError, EOFError, ValueError, KeyError, BadZipFile), cached.open("rb") as file:
        columns = np.load(file)
        return _Index(*(columns[name] for name in _Index._fields))
    try:
        with open_tar(_unpacked(shard)) as archive:
            entries = list(_entries(archive, shard=shard))
    except (tarfile.TarError, OSError) as error:
        _forget(shard)
        raise InputError(f"{shard}: broken shard ({error})") from error
    except InputError:
        _forget(shard)
        raise
    index = _Index(
        keys=np.array([entry.key for entry in entries], dtype=np.str_),
        targets=np.array([entry.target for entry in entries], dtype=np.int64),
        offsets=np.array([entry.offset for entry in entries], dtype=np.int64),
        sizes=np.array([entry.size for entry in entries], dtype=np.int64),
    )
    # If the cache cannot be written, the shard is read again at the next start.
    with suppress(OSError), replacing(cached) as temporary, temporary.open("wb") as file:
        np.savez(file, **index._asdict())
    return index


def _entries(archive: tarfile.TarFile, *, shard: Path) -> Iterator[_Entry]:
    members = regular_members(archive, size=_unpacked(shard).stat().st_size)
    for key, group in groupby(members, key=lambda member: _key(member.name)):
        if key is None:
            continue
        files = [(member.name[len(key) + 1 :], member) for member in group]
        for whole, image, label in find_samples(files, key=key, shard=str(shard)):
            content = archive.extractfile(label)
            data = content.read(_LONGEST_LABEL + 1) if content else b""
            if len(data) > _LONGEST_LABEL:
                raise InputError(f"{shard}:{whole}.cls: has {label.size} bytes; accepted is one number")
            target = parse_target(data, labels=None, name=f"{shard}:{whole}")
            yield _Entry(key=whole, target=target, offset=image.offset_data, size=image.size)


def _key(name: str) -> str | None:
    """Return a member's path up to the first dot of its file name; None if the file is hidden or has no dot."""
    folder, slash, file = name.rpartition("/")
    stem, dot, _ = file.partition(".")
    return folder + slash + stem if stem and dot else None


def _unpacked(shard: Path) -> Path:
    """Return the shard itself if it is not compressed, otherwise its unpacked copy in the cache."""
    if shard.name.endswith(".tar"):
        return shard
    copy = _in_cache(shard, ending="tar")
    if copy.is_file():
        return copy
    try:
        unpack(shard, copy)
    except tarfile.ReadError as error:
        raise InputError(f"{shard}: broken shard ({error})") from error
    except OSError as error:
        raise InputError(
            f"{shard}: cannot be unpacked to {copy.parent} (set XDG_CACHE_HOME to move it): {error}"
        ) from error
    return copy


def _forget(shard: Path) -> None:
    """Delete the unpacked copy of a shard that is of no use."""
    if not shard.name.endswith(".tar"):
        with suppress(OSError):
            _in_cache(shard, ending="tar").unlink(missing_ok=True)


def _in_cache(shard: Path, *, ending: str) -> Path:
    """Return the path of a shard's file in the cache. It depends on the shard's path, size and time of change."""
    folder = cache_folder() / "shards"
    status = shard.stat()
    identity = f"{shard.resolve()}|{status.st_size}|{status.st_mtime_ns}"
    return folder / f"{shard.name.partition('.')[0]}-{hashlib.sha256(identity.encode()).hexdigest()[:16]}.{ending}"
