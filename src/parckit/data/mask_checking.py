"""Finds what is wrong with the masks of a source: every mask is read.

`parckit.data.checking` finds what is wrong with its pictures.
"""

from collections.abc import Iterator
from functools import partial
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, printable
from parckit.data.faults import Fault
from parckit.data.mask_coding import NoColourTableError
from parckit.data.masks import read_mask_splits
from parckit.data.picture_table import MaskTable
from parckit.data.split_checking import SourceReport, SplitReport, check_splits
from parckit.data.stored_masks import StoredMasks
from parckit.processing import IGNORED

_CHUNK = 16
"""Masks that a thread takes at once."""

_STOPS = "training stops here, or leaves the picture out with --data.on_error skip"


class _Look(NamedTuple):
    """What a mask has: number of pixels of every class, the ignored ones last, and what is wrong with it."""

    counts: NDArray[np.int64]
    faults: tuple[Fault, ...] = ()


def check_masks(source: str, *, threads: int) -> SourceReport:
    """Check all splits of a source.

    Args:
        source: the source.
        threads: number of masks that are read at once.

    Raises:
        InputError: if the source is of no accepted kind, or none of its splits can be used.
    """
    return check_splits(source, read_mask_splits(source), look=partial(_look_at, threads=threads))


def _look_at(table: MaskTable, *, threads: int) -> SplitReport:
    looks = [*_read_all(table, threads=threads)]
    counts = np.sum([np.zeros(IGNORED + 1, dtype=np.int64), *(look.counts for look in looks)], axis=0)
    return SplitReport(
        lines=[f"{len(table.targets)} pictures, {table.served}", f"pixels: {_shares(table, counts)}"],
        faults=[*table.faults, *(fault for look in looks for fault in look.faults)],
        lacking=_missing_classes(table, counts),
    )


def _read_all(table: MaskTable, *, threads: int) -> Iterator[_Look]:
    """Read all masks. Those that are painted are painted one after the other."""
    indices = range(len(table.targets))
    if not isinstance(table.targets, StoredMasks):
        yield from (_Look(_count(table.targets[index])) for index in indices)
        return
    with ThreadPool(threads) as pool:
        yield from pool.imap(partial(_read, table.targets), indices, chunksize=_CHUNK)


def _read(masks: StoredMasks, index: int) -> _Look:
    try:
        mask = masks.read(index)
    except InputError as error:
        path = masks.name(index)
        kind = "no colour table" if isinstance(error, NoColourTableError) else "broken mask"
        detail = f"{str(error).removeprefix(f'{path}: ')}; {_STOPS}"
        return _Look(np.zeros(IGNORED + 1, dtype=np.int64), (Fault(kind, path, detail),))
    return _Look(_count(mask.classes), mask.faults)


def _count(classes: NDArray[np.uint8]) -> NDArray[np.int64]:
    return np.bincount(classes.ravel(), minlength=IGNORED + 1)


def _shares(table: MaskTable, counts: NDArray[np.int64]) -> str:
    """Return the share of the pixels of every class."""
    total = int(counts.sum())
    if not total:
        return "no mask can be read"
    names = [*zip(table.labels, counts.tolist(), strict=False), ("ignored", int(counts[IGNORED]))]
    return printable(", ".join(f"{name} {100 * count / total:.3g} %" for name, count in names))


def _missing_classes(table: MaskTable, counts: NDArray[np.int64]) -> list[tuple[str, str]]:
    """Return the classes of which a split has no pixel. If it has no pixel of any class, its masks are at fault."""
    present = [label for label, count in zip(table.labels, counts.tolist(), strict=False) if count]
    if not present:
        return []
    if len(present) == 1:
        return [("one class", f"has no class but {present[0]!r}")]
    return [("empty class", f"has no pixel of {label!r}") for label in table.labels if label not in present]
