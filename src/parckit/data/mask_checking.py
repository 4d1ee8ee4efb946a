"""Finds what is wrong with the masks of a source: every mask is read.

`parckit.data.checking` finds what is wrong with its pictures.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, printable
from parckit.data.box_checking import across_splits, new_files
from parckit.data.box_faults import BoxFault, describe_faults
from parckit.data.checking import Finding
from parckit.data.checklist import Member
from parckit.data.mask_faults import MaskFault
from parckit.data.mask_table import MaskTable, StoredMasks
from parckit.data.masks import read_mask_splits
from parckit.data.summary import describe_left_out
from parckit.processing import IGNORED, LeftOut

_CHUNK = 16
"""Masks that a thread takes at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskReport:
    """What training and evaluation see of a source, and what is wrong with it.

    Attributes:
        lines: what they see, in words.
        problems: what is wrong.
        pictures: number of pictures whose masks were read.
        files: the picture files, for `parckit.data.checking.inspect`; a picture in two splits comes once.
    """

    lines: tuple[str, ...]
    problems: tuple[Finding, ...]
    pictures: int
    files: tuple[Member, ...]


class _Look(NamedTuple):
    """What a mask has: number of pixels of every class, the ignored ones last, and what is wrong with it."""

    counts: NDArray[np.int64]
    faults: tuple[MaskFault, ...] = ()


def check_masks(source: str, *, threads: int) -> MaskReport:
    """Check all splits of a source.

    Args:
        source: the source.
        threads: number of masks that are read at once.

    Raises:
        InputError: if the source is of no accepted kind, or none of its splits can be used.
    """
    lines: list[str] = []
    problems: list[Finding] = []
    faults: list[MaskFault | BoxFault] = []
    files: list[Member] = []
    left_out: dict[LeftOut, None] = {}
    split_of: dict[str, str] = {}
    pictures = 0
    for split, read in read_mask_splits(source).items():
        try:
            table = read()
        except InputError as error:
            problems.append(Finding(path=Path(source), problem="refused", detail=str(error)))
            continue
        looks = [*_look_at(table, threads=threads)]
        counts = np.sum([look.counts for look in looks], axis=0) if looks else np.zeros(IGNORED + 1, dtype=np.int64)
        lines += _describe(table, counts, split=split)
        faults += [*table.faults, *table.box_faults, *(fault for look in looks for fault in look.faults)]
        files += new_files(table, split=split, known=split_of)
        problems += across_splits(table, split=split, split_of=split_of)
        problems += _missing_classes(table, counts, source=source) if split == "train" else []
        left_out.update(dict.fromkeys(table.left_out))
        pictures += len(looks)
    if not lines:
        raise InputError(problems[0].detail)
    lines += [f"left out: {describe_left_out(left_out)}", f"faults: {describe_faults(faults)}"]
    # Pictures without objects are counted above; many sources have them on purpose.
    problems += [
        Finding(path=Path(fault.file), problem=fault.kind, detail=fault.detail)
        for fault in faults
        if fault.kind != "background"
    ]
    return MaskReport(lines=tuple(lines), problems=tuple(problems), pictures=pictures, files=tuple(files))


def _look_at(table: MaskTable, *, threads: int) -> Iterator[_Look]:
    """Read all masks. Those that are painted are painted one after the other."""
    indices = range(len(table.targets))
    if not isinstance(table.targets, StoredMasks):
        yield from (_Look(_count(table.targets[index])) for index in indices)
        return
    with ThreadPool(threads) as pool:
        yield from pool.imap(partial(_look, table.targets), indices, chunksize=_CHUNK)


def _look(masks: StoredMasks, index: int) -> _Look:
    path = masks.name(index)
    try:
        mask = masks.read(index)
    except InputError as error:
        broken = MaskFault("broken mask", path, str(error).removeprefix(f"{path}: "))
        return _Look(np.zeros(IGNORED + 1, dtype=np.int64), (broken,))
    counts = _count(mask.classes)
    faults = () if mask.fault is None else (mask.fault,)
    if not counts[:IGNORED].any():
        faults += (MaskFault("all void", path, "no pixel has a class"),)
    return _Look(counts, faults)


def _count(classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(classes.ravel(), minlength=IGNORED + 1)


def _describe(table: MaskTable, counts: NDArray[np.int64], *, split: str) -> list[str]:
    """Return the number of pictures, and the share of the pixels of every class."""
    total = max(1, int(counts.sum()))
    names = [*zip(table.labels, counts.tolist(), strict=False), ("ignored", int(counts[IGNORED]))]
    shares = ", ".join(f"{name} {100 * count / total:.3g} %" for name, count in names)
    return [f"{split}: {len(table.targets)} pictures, {table.served}", f"{split}: pixels: {printable(shares)}"]


def _missing_classes(table: MaskTable, counts: NDArray[np.int64], *, source: str) -> list[Finding]:
    """Return the classes of which the training pictures have no pixel."""
    present = [label for label, count in zip(table.labels, counts.tolist(), strict=False) if count]
    if len(present) == 1:
        detail = f"all pixels with a class are {present[0]!r}"
        return [Finding(path=Path(source), problem="one class", detail=f"train: {detail}")]
    return [
        Finding(path=Path(source), problem="empty class", detail=f"train has no pixel of {label!r}")
        for label in table.labels
        if label not in present
    ]
