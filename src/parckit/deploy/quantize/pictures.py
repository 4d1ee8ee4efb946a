"""Calibration pictures: chosen from a source, preprocessed as everywhere, and remembered by their digests.

A source is anything that `parckit eval` takes, or a folder of pictures without labels.
"""

import hashlib
import logging
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import Calibration, InputError, NetworkSpec
from parckit.data import Table
from parckit.data.datasets import Target, Targets
from parckit.measure.evaluation_data import EvaluationData
from parckit.processing import LeftOut, list_images, load_image, preprocess
from parckit.runtimes import Session

Track = Callable[[Iterable[int]], Iterable[int]]
"""Returns the indices of pictures that it gets, and may show the progress of the work."""

_CHECKED_SHARE = 5
"""At least every fifth picture is kept for the check, if there are few."""

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainPictures:
    """Pictures of a folder without labels; a `Table`.

    Attributes:
        paths: their files.
    """

    paths: tuple[Path, ...]
    labels: tuple[str, ...] = ()
    served: str = "pictures without labels"
    left_out: tuple[LeftOut, ...] = ()

    @property
    def targets(self) -> Targets:
        """A zero for every picture."""
        return np.zeros(len(self.paths), np.int64)

    def name(self, index: int) -> str:
        """Return the path of a picture."""
        return str(self.paths[index])

    def load(self, index: int) -> Image.Image:
        """Decode a picture; see `load_image`."""
        return load_image(self.paths[index])


@dataclass(frozen=True, kw_only=True, slots=True)
class PartOfTable:
    """Some of the pictures of another table; a `Table`.

    Attributes:
        table: the other table.
        indices: which of its pictures.
    """

    table: Table
    indices: NDArray[np.intp]

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self.table.labels

    @property
    def served(self) -> str:
        """Which part of the source serves as the split."""
        return self.table.served

    @property
    def left_out(self) -> Sequence[LeftOut]:
        """What the source holds and does not read."""
        return self.table.left_out

    @property
    def targets(self) -> Targets:
        """The targets of these pictures. Each is read when it is asked for: masks are files, or are drawn."""
        return _PartOfTargets(self.table.targets, self.indices)

    def name(self, index: int) -> str:
        """Return what errors call a picture."""
        return self.table.name(int(self.indices[index]))

    def load(self, index: int) -> Image.Image:
        """Decode a picture."""
        return self.table.load(int(self.indices[index]))


@final
class _PartOfTargets:
    """Some of the targets of a table; `Targets`.

    Args:
        targets: all targets.
        indices: which of them.
    """

    def __init__(self, targets: Targets, indices: NDArray[np.intp]) -> None:
        self._targets, self._indices = targets, indices

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> Target:
        return self._targets[int(self._indices[index])]


@dataclass(frozen=True, kw_only=True, slots=True)
class CalibrationPictures:
    """The pictures that a quantizer sees, and those on which its result is checked.

    Attributes:
        images: (B, ...) preprocessed pictures, in a file of a temporary folder.
        digests: digest of every picture; see `digest_of`.
        held_out: other pictures of the same source; None if there are none.
        held_out_digests: digest of each of these.
        has_labels: whether the source says what the pictures show.
    """

    images: NDArray[np.generic]
    digests: tuple[str, ...]
    held_out: Table | None
    held_out_digests: tuple[str, ...]
    has_labels: bool

    def calibration(self, method: str) -> Calibration:
        """Return what an artefact says about them."""
        return Calibration(method=method, count=len(self.digests), sha256=self.digests)

    def groups(self, batch_size: int) -> list[NDArray[np.generic]]:
        """Return the images in groups of a size. The last group is filled up with the first images."""
        count = len(self.images)
        starts = range(0, count, batch_size)
        if batch_size == 1:
            return [self.images[start : start + 1] for start in starts]
        return [self.images[np.arange(start, start + batch_size) % count] for start in starts]


def digest_of(picture: Image.Image) -> str:
    """Return the SHA-256 digest of a picture's size and pixels.

    Files of several formats, and shards and folders, that hold the same picture have the same digest.
    """
    digest = hashlib.sha256(f"{picture.mode} {picture.width}x{picture.height}\n".encode())
    digest.update(picture.tobytes())
    return digest.hexdigest()


def digests_of(table: Table, indices: Iterable[int]) -> Iterator[str]:
    """Yield the digests of pictures of a table."""
    for index in indices:
        yield digest_of(table.load(index))


def open_pictures(
    data: EvaluationData, session: Session, *, samples: int, seed: int, work: Path, track: Track = iter
) -> CalibrationPictures:
    """Choose and preprocess calibration pictures, and choose as many others for the check.

    A source may hold the same picture several times. Copies of calibration pictures check nothing, and are left out.

    Args:
        data: the source. If it has no labels that the network knows, but pictures, a warning says so.
        session: the float32 artefact; says how pictures are preprocessed.
        samples: number of pictures. If the source has few, at least every fifth of them is kept for the check.
        seed: chooses the pictures.
        work: folder for the preprocessed pictures.
        track: gets the pictures while they are read.

    Raises:
        InputError: if the source holds no pictures, or a picture is broken.
    """
    table, has_labels = open_table(data, session.spec)
    count = len(table.targets)
    seen = max(1, min(samples, count - max(1, count // _CHECKED_SHARE)))
    order = np.random.default_rng(seed).permutation(count)[: 2 * seen]
    images = np.lib.format.open_memmap(work / "images.npy", "w+", session.input.dtype, (seen, *_image_shape(session)))
    digests: list[str] = []
    for place in track(range(len(order))):
        picture = table.load(int(order[place]))
        digests.append(digest_of(picture))
        if place < seen:
            images[place], _ = preprocess(picture, session.spec.preprocessing, wanted=session.input)
    calibrating = set(digests[:seen])
    others = {int(index): digest for index, digest in zip(order, digests, strict=True) if digest not in calibrating}
    if seen < samples:
        told = (data.source, count, seen, samples, len(others))
        _log.warning("%s has %d pictures: %d of them calibrate, not %d; left for the check: %d", *told)
    if copies := len(order) - seen - len(others):
        told = (data.source, copies)
        _log.warning("%s: %d pictures are copies of calibration pictures, and do not check the result", *told)
    indices = np.array(sorted(others), np.intp)
    return CalibrationPictures(
        images=images,
        digests=tuple(digests[:seen]),
        held_out=PartOfTable(table=table, indices=indices) if len(indices) else None,
        held_out_digests=tuple(others[index] for index in sorted(others)),
        has_labels=has_labels,
    )


def _image_shape(session: Session) -> tuple[int, ...]:
    """Return the shape of one image of a network's input."""
    shape = session.input.shape[1:]
    if None in shape:
        raise InputError(f"{session.artefact}: takes images of any size; only networks of a fixed size are quantized")
    return tuple(side for side in shape if side is not None)


def open_table(data: EvaluationData, spec: NetworkSpec) -> tuple[Table, bool]:
    """Return the pictures of a source, and whether they have labels that the network knows.

    Raises:
        InputError: if there are none.
    """
    try:
        return data.table(spec), True
    except InputError as error:
        folder = Path(data.source if isinstance(data.source, str) else data.source[0]).expanduser()
        if not folder.is_dir():
            raise
        try:
            paths = list_images(folder)
        except InputError:
            raise InputError(f"{error}; pictures without labels are accepted, too, but it has none") from None
        _log.warning("%s: pictures are used without labels: %d (%s)", folder, len(paths), error)
        return PlainPictures(paths=tuple(paths)), False
