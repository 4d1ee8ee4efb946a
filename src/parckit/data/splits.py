"""What serves as the train, val or test split when a source does not have all three.

- No `val`: a fixed part of `train` is held out and serves as `val`. If there is a `train`, `test` never serves as
  `val`: choosing the best epoch on `test` would make the test result too optimistic.
- No `test`: `val`, or the held-out part of `train`, serves as `test`. No image is used for both training and testing.
- Only `test`: it also serves as `val`. There is nothing to train on.
- `"all"`: every image of the source, for calibration and for data that exist only for evaluation.
"""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.targets import ClassTargets, LabelTargets, have_several_labels, strata_of

_log = logging.getLogger(__name__)

Split = Literal["train", "val", "test", "all"]
Named = Literal["train", "val", "test"]
Part = Literal["whole", "kept", "held_out"]

NAMED: tuple[Named, ...] = ("train", "val", "test")

SPELLINGS: Mapping[str, Named] = {
    "train": "train",
    "training": "train",
    "val": "val",
    "valid": "val",
    "validation": "val",
    "test": "test",
    "testing": "test",
}
"""Usual names of splits in folders and tables, lower case; upper and lower case are treated alike."""


_HOLDOUT_PERCENT = 10
"""Share of every class of `train` that is held out if there is no `val`."""

_SALT = "parckit"
"""Salt of the held-out part. Do not change it: images that existing checkpoints were trained on would be held out."""

_LONGEST = 20
"""Longer numbers are sorted as text; Python refuses to read numbers of thousands of digits."""


class Served(NamedTuple):
    """The part of a source that serves as a split. `str()` gives the words for records and warnings.

    Attributes:
        name: a split that the source has.
        part: which part of that split: `"whole"`, the `"held_out"` part, or `"kept"`, the rest.
    """

    name: Named
    part: Part

    def __str__(self) -> str:
        if self.part == "kept":
            return f"{self.name} without its held-out part"
        return self.name if self.part == "whole" else f"the held-out part of {self.name}"


def find_splits(names: Iterable[str], *, source: str) -> dict[Named, str]:
    """Return split -> the name that the source uses for it, for those of `names` that name a split.

    Raises:
        InputError: if two names mean the same split.
    """
    name_of: dict[Named, str] = {}
    for name in names:
        split = SPELLINGS.get(name.casefold())
        if split in name_of:
            raise InputError(f"{source}: {name_of[split]} and {name} both mean the split {split}; keep one of them")
        if split is not None:
            name_of[split] = name
    return {split: name_of[split] for split in NAMED if split in name_of}


def resolve_split(split: Named, *, present: Collection[Named], source: str) -> Served:
    """Return which of the source's splits serves as `split`, and which part of it.

    Args:
        split: the wanted split.
        present: the splits that the source has.
        source: name of the source in errors.

    Raises:
        InputError: if there is nothing to train on.
    """
    if split == "train":
        if "train" not in present:
            raise InputError(f"{source}: has no train split, only {', '.join(present)}")
        return Served("train", "whole" if "val" in present else "kept")
    if split in present:
        return Served(split, "whole")
    served = Served("test", "whole")
    if "val" in present:
        served = Served("val", "whole")
    elif "train" in present:
        served = Served("train", "held_out")
    if split == "test":
        _log.warning("%s: has no test split; %s serves as test. Split 'all' takes every image", source, served)
    return served


def sort_labels(labels: Iterable[str]) -> tuple[str, ...]:
    """Return different class names in order: by number if all of them are whole numbers, otherwise by name."""
    names = sorted(set(labels))
    # "01" and "1" are two names; both are numbers.
    is_numeric = all(name.isascii() and name.removeprefix("-").isdecimal() and len(name) < _LONGEST for name in names)
    return tuple(sorted(names, key=int) if is_numeric else names)


def join_labels(groups: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """Return the class names of several splits or sources; names in the same order everywhere keep their order."""
    orders = {tuple(labels) for labels in groups}
    return orders.pop() if len(orders) == 1 else sort_labels(label for labels in orders for label in labels)


def part_of(
    names: Sequence[str],
    *,
    targets: ClassTargets | LabelTargets,
    labels: Sequence[str],
    part: Part,
    source: str,
) -> NDArray[np.int64]:
    """Return the indices of the samples that belong to a part of a split, in order.

    Args:
        names: one name per sample, which decides what is held out; all names differ.
        targets: class or labels of every sample.
        labels: class names by index.
        part: the wanted part.
        source: name of the source in errors.

    Raises:
        InputError: if a class has only one sample, which cannot be in both parts; or if samples have several labels,
            and all samples are alone with their rarest label.
    """
    indices = np.arange(len(names))
    if part == "whole":
        return indices
    if have_several_labels(targets):
        outside = _held_out_of_labels(names, targets=cast("LabelTargets", targets), source=source)
        return indices[np.isin(indices, list(outside)) == (part == "held_out")]
    lone = np.flatnonzero(np.bincount(targets) == 1)
    if len(lone):
        problem = f"class {labels[lone[0]]!r} has one image, which cannot be both trained on and held out"
        raise InputError(f"{source}: {problem}; add images, or use split 'all'")
    outside = held_out(names, classes=targets.tolist(), percent=_HOLDOUT_PERCENT, salt=_SALT)
    return indices[np.isin(indices, list(outside)) == (part == "held_out")]


def part_of_pictures(names: Sequence[str], *, part: Part, source: str) -> list[int]:
    """Return the indices of the pictures that belong to a part of a split, in order. A picture may show every class.

    Args:
        names: one name per picture, which decides what is held out; all names differ.
        part: the wanted part.
        source: name of the source in errors.

    Raises:
        InputError: if there is one picture, which cannot be in both parts.
    """
    if part != "whole" and len(names) == 1:
        raise InputError(f"{source}: one picture cannot be both trained on and held out; add pictures, or a val split")
    of_one_class = np.zeros(len(names), dtype=np.int64)
    return part_of(names, targets=of_one_class, labels=("picture",), part=part, source=source).tolist()


def usable_splits(present: Collection[Named]) -> tuple[Named, ...]:
    """Return the splits that a source has, and `val` if a part of `train` serves as it."""
    return tuple(name for name in NAMED if name in present or (name == "val" and "train" in present))


def _held_out_of_labels(names: Sequence[str], *, targets: LabelTargets, source: str) -> set[int]:
    """Return the indices of the held-out samples, some of every stratum; a sample alone in its stratum stays."""
    strata = strata_of(targets)
    members: list[int] = np.flatnonzero(np.bincount(strata)[strata] > 1).tolist()
    if not members:
        raise InputError(f"{source}: has too few images to hold out some of every label; add images")
    held = held_out(
        [names[index] for index in members], classes=strata[members].tolist(), percent=_HOLDOUT_PERCENT, salt=_SALT
    )
    return {members[index] for index in held}


def held_out(names: Sequence[str], *, classes: Sequence[int], percent: int, salt: str) -> set[int]:
    """Choose a fixed stratified part of the samples: in every class, those whose names have the lowest hashes.

    The choice depends only on names, classes, percent and salt. It does not depend on the order of files or on a
    library's random numbers. Every class gives `percent` of its samples, rounded up, so at least one. A name may
    contain bytes of a file name that are not UTF-8.

    Args:
        names: one name per sample; all names differ.
        classes: class index of every sample.
        percent: share to hold out, in 1..99.
        salt: works as a seed; another salt gives another choice.

    Returns:
        The indices of the samples that are held out.

    Raises:
        ValueError: if a class has only one sample, which cannot be in both parts; the message names the class index.
    """
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(classes):
        by_class[target].append(index)
    indices: set[int] = set()
    for target, members in by_class.items():
        if len(members) == 1:
            raise ValueError(f"class {target} has one sample only")
        members.sort(key=lambda index: _digest(f"{salt}/{names[index]}"))
        indices.update(members[: math.ceil(len(members) * percent / 100)])
    return indices


def _digest(name: str) -> bytes:
    # In a Python string, bytes of a file name that are not UTF-8 are lone surrogates. os.fsencode would restore these
    # bytes, but it would make the digests of all other names depend on the machine's locale.
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()
