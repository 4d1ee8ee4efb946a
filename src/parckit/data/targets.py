"""What the targets of all pictures say about classes: the one place that knows how tasks hold their targets.

The targets of a source are an array: `(N,)` whole numbers hold the class of every picture; `(N, classes)` truth values
hold which labels every picture has. A source of boxes makes the objects of a picture when they are asked for. Sources,
matching and summaries use the functions below, so they serve all of these. A source of masks reads the class of every
pixel when it is asked for.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, cast, runtime_checkable

import numpy as np
import torch
from numpy.typing import NDArray

from parckit.data.datasets import OnError, Targets
from parckit.data.objects import Objects
from parckit.processing import IGNORED

ClassTargets = NDArray[np.int64]
"""The class of every picture, (N,)."""
LabelTargets = NDArray[np.bool_]
"""Whether a picture (row) has a label (column), (N, classes)."""


@runtime_checkable
class ObjectTargets(Protocol):
    """The objects of all pictures, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> Objects: ...

    def count_objects(self, *, classes: int) -> NDArray[np.int64] | None:
        """Return the number of objects of every class; None if all pictures would have to be drawn for it."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RenumberedObjects:
    """The objects of other targets under other class numbers. Objects of unknown classes are left out.

    Attributes:
        targets: the other targets.
        numbers: the new number of every old class; -1 if the class is unknown.
    """

    targets: ObjectTargets
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int, /) -> Objects:
        objects = self.targets[index]
        labels = torch.from_numpy(self.numbers)[objects.labels]
        return objects._replace(labels=labels).select(labels >= 0)

    def count_objects(self, *, classes: int) -> NDArray[np.int64] | None:
        """Return the number of objects of every class."""
        counts = self.targets.count_objects(classes=len(self.numbers))
        if counts is None:
            return None
        known = self.numbers >= 0
        return np.bincount(self.numbers[known], weights=counts[known], minlength=classes).astype(np.int64)


@runtime_checkable
class PixelTargets(Protocol):
    """The class of every pixel of all pictures, by index."""

    def __len__(self) -> int: ...

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """Return the classes of the pixels of picture `index`, (H, W); `IGNORED` where there is none."""
        ...

    def count_pixels(self, *, classes: int, on_error: OnError) -> NDArray[np.int64]:
        """Return the number of pixels of every class. It reads all masks; `on_error` is for broken ones."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class RenumberedPixels:
    """The pixels of other targets under other class numbers. Pixels of unknown classes are ignored.

    Attributes:
        targets: the other targets.
        numbers: the new number of every old class; -1 if the class is unknown.
    """

    targets: PixelTargets
    numbers: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.targets)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        table = np.full(IGNORED + 1, IGNORED, dtype=np.uint8)
        known = np.flatnonzero(self.numbers >= 0)
        table[known] = self.numbers[known]
        return table[self.targets[index]]

    def count_pixels(self, *, classes: int, on_error: OnError) -> NDArray[np.int64]:
        """Return the number of pixels of every class. It reads all masks; `on_error` is for broken ones."""
        counts = self.targets.count_pixels(classes=len(self.numbers), on_error=on_error)
        known = self.numbers >= 0
        total = np.zeros(classes, dtype=np.int64)
        total[self.numbers[known]] = counts[known]
        return total


def have_several_labels(targets: Targets) -> bool:
    """Return whether a picture may have any number of labels."""
    return isinstance(targets, np.ndarray) and targets.ndim == 2


def as_labels(targets: Targets, *, classes: int) -> LabelTargets:
    """Return targets as labels: a picture of one class has one label.

    Shape:
        (N,) or (N, classes) -> (N, classes)
    """
    if have_several_labels(targets):
        return cast("LabelTargets", targets)
    return np.arange(classes) == np.asarray(targets, dtype=np.int64)[:, None]


def labels_at(targets: Targets, index: int, *, names: Sequence[str]) -> str:
    """Return the names of a picture's classes as one text."""
    target = targets[index]
    if not have_several_labels(targets):
        return names[int(target)]
    return ", ".join(name for name, is_present in zip(names, target, strict=True) if is_present)


def count_images(targets: Targets, *, classes: int) -> NDArray[np.int64]:
    """Return the number of pictures of every class. The targets are classes or labels."""
    if have_several_labels(targets):
        return cast("LabelTargets", targets).sum(axis=0, dtype=np.int64)
    return np.bincount(np.asarray(targets, dtype=np.int64), minlength=classes)


def count_classes(targets: Targets, *, classes: int) -> NDArray[np.int64] | None:
    """Return the number of pictures of every class, or of objects where pictures have objects.

    None: all pictures would have to be drawn, or all masks read for it.
    """
    if isinstance(targets, PixelTargets):
        return None
    if isinstance(targets, ObjectTargets):
        return targets.count_objects(classes=classes)
    return count_images(targets, classes=classes)


def count_unlabelled(targets: Targets) -> int:
    """Return the number of pictures that have no label; a picture always has a class."""
    return int((~cast("LabelTargets", targets).any(axis=1)).sum()) if have_several_labels(targets) else 0


def renumber(targets: Targets, numbers: NDArray[np.int64], *, classes: int) -> ClassTargets | LabelTargets:
    """Return classes or labels under other class numbers.

    `RenumberedObjects` does it with objects, and `RenumberedPixels` with masks.

    Args:
        targets: under the old numbers.
        numbers: the new number of every old class; -1 if the class is unknown.
        classes: number of new classes.

    Returns:
        Of a picture of an unknown class, the target is -1. An unknown label is lost.
    """
    if not have_several_labels(targets):
        return numbers[np.asarray(targets, dtype=np.int64)]
    old = cast("LabelTargets", targets)
    new = np.zeros((len(old), classes), dtype=np.bool_)
    new[:, numbers[numbers >= 0]] = old[:, numbers >= 0]
    return new


def known_pictures(targets: Targets) -> NDArray[np.int64]:
    """Return the indices of the pictures that `renumber` did not make unknown."""
    if isinstance(targets, np.ndarray) and targets.ndim == 1:
        return np.flatnonzero(targets >= 0)
    return np.arange(len(targets))


def concatenate(parts: Sequence[ClassTargets | LabelTargets]) -> ClassTargets | LabelTargets:
    """Return the targets of several sources, which have the same classes, one after the other."""
    # All parts are of one kind, because one task opened the sources.
    return np.concatenate(cast("Sequence[ClassTargets]", parts))


def strata_of(targets: LabelTargets) -> ClassTargets:
    """Return the stratum of every picture, so that a held-out part has pictures of every label.

    The stratum is the picture's rarest label, because frequent labels have pictures in the part anyway. Pictures
    without a label are a stratum of their own.

    Shape:
        (N, classes) -> (N,)
    """
    images = np.where(targets, targets.sum(axis=0), len(targets) + 1)
    return np.where(targets.any(axis=1), images.argmin(axis=1), targets.shape[1])
