"""What the targets of all pictures say about classes: the one place that knows how tasks hold their targets.

The targets of a source are an array: `(N,)` whole numbers hold the class of every picture; `(N, classes)` truth values
hold which labels every picture has. Sources, matching and summaries use the functions below, so they serve both.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
from numpy.typing import NDArray

from parckit.data.datasets import Targets

ClassTargets = NDArray[np.int64]
"""The class of every picture, (N,)."""
LabelTargets = NDArray[np.bool_]
"""Whether a picture (row) has a label (column), (N, classes)."""


def have_several_labels(targets: Targets) -> bool:
    """Return whether a picture may have any number of labels."""
    return np.ndim(cast("NDArray[np.generic]", targets)) == 2


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
    """Return the number of pictures of every class."""
    if have_several_labels(targets):
        return cast("LabelTargets", targets).sum(axis=0, dtype=np.int64)
    return np.bincount(np.asarray(targets, dtype=np.int64), minlength=classes)


def count_unlabelled(targets: Targets) -> int:
    """Return the number of pictures that have no label; a picture always has a class."""
    return int((~cast("LabelTargets", targets).any(axis=1)).sum()) if have_several_labels(targets) else 0


def renumber(targets: Targets, numbers: NDArray[np.int64], *, classes: int) -> ClassTargets | LabelTargets:
    """Return targets under other class numbers.

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
