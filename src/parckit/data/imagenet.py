"""ImageNet (ILSVRC2012) from the official archives. The images are read directly from the archives.

- `ILSVRC2012_img_train.tar` holds one tar of images per class, with the class in its name (`n01440764.tar`).
- `ILSVRC2012_img_val.tar` holds the validation images without their classes.
- `ILSVRC2012_devkit_t12.tar.gz` holds the classes of the validation images: one number per image, in the order of the
  images' names, and a MATLAB table with the class of every number.

The name of a class is its WordNet number. ImageNet's classes are sorted by name. The published models
use the same order.
"""

import io
import tarfile
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Literal, cast, get_args

import numpy as np
from scipy.io import loadmat
from scipy.io.matlab import MatReadError

from parckit.contract import InputError
from parckit.data.archives import open_tar
from parckit.data.packing import SHARD_SIZE, StoredImage, Track, filling, refuse_filled, untracked, write_shards
from parckit.data.splits import Named

TRAIN_ARCHIVE = "ILSVRC2012_img_train.tar"
VAL_ARCHIVE = "ILSVRC2012_img_val.tar"
DEVKIT_ARCHIVE = "ILSVRC2012_devkit_t12.tar.gz"

Form = Literal["folders", "shards"]

_MEANINGS = "data/meta.mat"
"""The devkit's table with the class of every number."""
_ANSWERS = "data/ILSVRC2012_validation_ground_truth.txt"
"""The devkit's file with the number of every validation image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The classes and images of one archive."""

    labels: tuple[str, ...]
    images: list[StoredImage]


def lay_out_imagenet(
    archives: Path,
    out: Path,
    *,
    form: Form = "folders",
    shard_size: int = SHARD_SIZE,
    seed: int = 0,
    track: Track = untracked,
) -> dict[Named, int]:
    """Turn the official archives into a source for `open_images`, with train, val or both.

    Args:
        archives: folder with the archives under their official names. The train archive or the val archive may be
            missing. The val archive needs the devkit.
        out: folder to write; must be new or empty. It appears when all files are written.
        form: `"folders"` writes `OUT/{train,val}/CLASS/IMAGE`. `"shards"` writes shards in a random order; it reads the
            archives at random places, which is fast only on a solid-state disk.
        shard_size: most images per shard.
        seed: seed of the order in the shards.
        track: gets the classes while the training archive is indexed, then the images of every split while they are
            written.

    Returns:
        The number of images written per split.

    Raises:
        InputError: if an archive is missing, broken or not the official one, or `out` is not empty.
    """
    if form not in get_args(Form):
        raise InputError(f"form={form!r}: choose from {get_args(Form)}")
    refuse_filled(out)
    parts = _index(archives, track=track)
    labels = next(iter(parts.values())).labels
    splits: dict[Named, list[StoredImage]] = {name: part.images for name, part in parts.items()}
    if form == "shards":
        write_shards(splits, out, labels=labels, shard_size=shard_size, seed=seed, track=track)
    else:
        _write_folders(splits, out, labels=labels, track=track)
    return {name: len(images) for name, images in splits.items()}


def _index(archives: Path, *, track: Track) -> dict[Named, _Part]:
    parts: dict[Named, _Part] = {}
    if (archives / TRAIN_ARCHIVE).is_file():
        parts["train"] = _index_train(archives / TRAIN_ARCHIVE, track=track)
    if (archives / VAL_ARCHIVE).is_file():
        parts["val"] = _index_val(archives / VAL_ARCHIVE, devkit=archives / DEVKIT_ARCHIVE)
    if not parts:
        raise InputError(f"{archives}: has neither {TRAIN_ARCHIVE} nor {VAL_ARCHIVE}")
    (_, first), *others = parts.items()
    for name, part in others:
        if differing := set(part.labels) ^ set(first.labels):
            raise InputError(f"{archives}: class {min(differing)} is not in both train and {name}")
    return parts


def _index_train(path: Path, *, track: Track) -> _Part:
    classes: dict[str, tarfile.TarInfo] = {}
    stored: list[StoredImage] = []
    with _whole_tar(path) as archive:
        for member in archive:
            label = PurePosixPath(member.name)
            if not member.isreg() or label.suffix != ".tar":
                raise InputError(f"{path}: holds {member.name}; expected one tar of images per class")
            classes[label.stem] = member
        labels = tuple(sorted(classes))
        for target, label in enumerate(track(labels)):
            inner = cast("IO[bytes]", archive.extractfile(classes[label]))
            begin = classes[label].offset_data
            with tarfile.open(fileobj=inner, mode="r:") as images:
                stored += (_stored(image, target=target, path=path, begin=begin) for image in images)
    return _Part(labels=labels, images=stored)


def _index_val(path: Path, *, devkit: Path) -> _Part:
    labels, targets = _read_devkit(devkit)
    with _whole_tar(path) as archive:
        images = sorted((member for member in archive if member.isreg()), key=lambda member: member.name)
    if len(images) != len(targets):
        raise InputError(f"{path}: holds {len(images)} images, but {devkit.name} has {len(targets)} answers")
    stored = [_stored(image, target=target, path=path) for image, target in zip(images, targets, strict=True)]
    return _Part(labels=labels, images=stored)


def _stored(image: tarfile.TarInfo, *, target: int, path: Path, begin: int = 0) -> StoredImage:
    name = PurePosixPath(image.name).name
    return StoredImage(name=name, target=target, path=path, offset=begin + image.offset_data, size=image.size)


def _read_devkit(path: Path) -> tuple[tuple[str, ...], list[int]]:
    """Return the classes and the class index of every validation image."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; it has the classes of the validation images")
    try:
        with tarfile.open(path, "r:gz") as archive:
            files = {name: _read(archive, ending=name) for name in (_MEANINGS, _ANSWERS)}
        synsets = np.atleast_1d(loadmat(io.BytesIO(files[_MEANINGS]), squeeze_me=True)["synsets"])
        # Only the leaves of the tree are classes; the other nodes are groups of classes.
        leaves = synsets[synsets["num_children"] == 0]
        names = {int(number): str(name) for number, name in zip(leaves["ILSVRC2012_ID"], leaves["WNID"], strict=True)}
        labels = tuple(sorted(names.values()))
        indices = {label: index for index, label in enumerate(labels)}
        return labels, [indices[names[int(answer)]] for answer in files[_ANSWERS].split()]
    except (tarfile.TarError, MatReadError, OSError, EOFError, KeyError, ValueError) as error:
        raise InputError(f"{path}: not the official development kit ({error})") from error


def _read(archive: tarfile.TarFile, *, ending: str) -> bytes:
    member = next((member for member in archive.getmembers() if member.name.endswith(ending)), None)
    content = None if member is None else archive.extractfile(member)
    if content is None:
        raise ValueError(f"{ending} is missing")
    return content.read()


@contextmanager
def _whole_tar(path: Path) -> Generator[tarfile.TarFile]:
    """Open a tar that the `with` body reads to its end. If the tar is broken or cut, an `InputError` names it."""
    try:
        with open_tar(path) as archive:
            yield archive
    except (tarfile.TarError, OSError) as error:
        raise InputError(f"{path}: broken archive ({error})") from error


def _write_folders(
    splits: Mapping[Named, Sequence[StoredImage]], out: Path, *, labels: Sequence[str], track: Track
) -> None:
    with filling(out) as temporary:
        for split, images in splits.items():
            for label in labels:
                (temporary / split / label).mkdir(parents=True)
            for image in track(images):
                (temporary / split / labels[image.target] / image.name).write_bytes(image.read())
