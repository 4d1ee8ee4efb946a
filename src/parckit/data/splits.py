"""Which part of a source is the train, val and test split when not all three are given.

- `val` missing: a fixed part of `train` is held out. `test` never serves as `val` beside a `train`: choosing the best
  epoch on it would spoil it.
- `test` missing: `val` serves (given or held out). What a model is trained on is never what it is tested on.
- only `test` given: it serves as `val` too; there is nothing to train on.
- `"all"`: everything the source has, for calibration and for sets that exist only for evaluation.
"""

import hashlib
import logging
import math
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from parckit.contract import InputError

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
"""What folders and tables of others call a split, in any case."""


class Served(NamedTuple):
    """What a source has for a split; as text, how records tell it.

    Attributes:
        name: the source's own split.
        part: how much of it.
    """

    name: Named
    part: Part

    def __str__(self) -> str:
        if self.part == "kept":
            return f"{self.name} without its held-out part"
        return self.name if self.part == "whole" else f"the held-out part of {self.name}"


def find_splits(names: Iterable[str], *, source: str) -> dict[Named, str]:
    """Say which of the names in a source is which split's.

    Raises:
        InputError: if two are the same split's.
    """
    found: dict[Named, str] = {}
    for name in names:
        split = SPELLINGS.get(name.casefold())
        if split in found:
            raise InputError(f"{source}: {found[split]} and {name} are both its {split} split")
        if split is not None:
            found[split] = name
    return {split: found[split] for split in NAMED if split in found}


def resolve_split(split: Named, *, present: Collection[Named], source: str) -> Served:
    """Say which given split serves as `split`, and which part of it.

    Args:
        split: what is wanted.
        present: the splits that the source gives.
        source: what an error calls the source.

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


def held_out(names: Sequence[str], *, classes: Sequence[int], percent: int, salt: str) -> set[int]:
    """Choose the indices of a fixed stratified part: of every class, the samples whose names hash lowest.

    The choice depends on nothing but the names: no library's random numbers, no order of files. Each class gives
    `percent` of its samples, rounded up, so at least one. Names may be any that a file system has, also undecodable.

    Args:
        names: one distinct name a sample.
        classes: class index of every sample.
        percent: share to hold out, in 1..99.
        salt: the seed; another one gives another choice.

    Raises:
        ValueError: if a class has one sample only, so that it cannot be on both sides; names its index.
    """
    by_class: defaultdict[int, list[int]] = defaultdict(list)
    for index, target in enumerate(classes):
        by_class[target].append(index)
    chosen: set[int] = set()
    for target, members in by_class.items():
        if len(members) == 1:
            raise ValueError(f"class {target} has one sample only")
        members.sort(key=lambda index: _digest(f"{salt}/{names[index]}"))
        chosen.update(members[: math.ceil(len(members) * percent / 100)])
    return chosen


def _digest(name: str) -> bytes:
    # Bytes of a file name that are not UTF-8 arrive as lone surrogates. os.fsencode would turn them back, but digests
    # of all other names would depend on the machine's locale.
    return hashlib.sha256(name.encode(errors="surrogatepass")).digest()
