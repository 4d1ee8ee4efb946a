"""What can be wrong with the boxes of a source: a record that counts the faults and names their files."""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple, Protocol

from parckit.contract import InputError, printable

FaultKind = Literal[
    "zero size",
    "partly outside",
    "outside",
    "duplicate",
    "near duplicate",
    "unknown class",
    "wrong unit",
    "bad mask",
    "missing picture",
    "broken picture",
    "wrong size",
    "missing labels",
    "no picture",
    "background",
    "unclear turn",
    "in two splits",
]

OnBoxFault = Literal["drop", "raise"]
"""What happens to faulty boxes."""

CONSEQUENCES: Mapping[FaultKind, str] = {
    "zero size": "the box is dropped",
    "partly outside": "the box is cut at the border of the picture",
    "outside": "the box is dropped",
    "duplicate": "the box is dropped",
    "near duplicate": "both boxes stay",
    "unknown class": "the box is dropped",
    "wrong unit": "the box is dropped",
    "bad mask": "the object is dropped if none of its mask is left",
    "missing picture": "the picture is left out",
    "broken picture": "the picture is left out",
    "wrong size": "the picture is left out: nobody knows which picture its boxes belong to",
    "missing labels": "the picture is left out: it may show objects",
    "no picture": "the boxes are left out",
    "background": "the picture stays, without objects",
    "unclear turn": "the boxes stay as they are",
    "in two splits": "the picture is taken once, from the first of them",
}
"""Kind of fault -> what happens if faulty boxes are dropped."""

HARMLESS: frozenset[FaultKind] = frozenset({"near duplicate", "background", "unclear turn"})
"""Kinds that may be intended. They are counted, but nothing is dropped, and they never raise."""

DUPLICATE_IOU = 0.95
"""Two boxes of a class whose IoU is larger show one object; no two objects overlap so much."""

NEAR_DUPLICATE_IOU = 0.8
"""Two boxes of a class whose IoU is larger probably show one object, such as a box that was shifted by 2 pixels. In
crowded pictures they may show two objects, so both stay."""

_log = logging.getLogger(__name__)

_FEW = 3
"""Number of files in a line before "..."."""


class BoxFault(NamedTuple):
    """A fault of a box, of a picture or of a file of labels.

    Attributes:
        kind: kind of fault.
        file: file of the labels, or the picture if one file holds the labels of all pictures.
        detail: one line that describes it.
    """

    kind: FaultKind
    file: str
    detail: str


def harmful_faults(entries: Iterable[BoxFault]) -> tuple[BoxFault, ...]:
    """Return the faults that change what is read."""
    return tuple(entry for entry in entries if entry.kind not in HARMLESS)


def tell_faults(
    entries: Iterable[BoxFault], *, source: str, on_box_fault: OnBoxFault, option: str = "on_box_fault"
) -> None:
    """Warn of the faults of a source that change what is read, or refuse it. Errors name the option `option`.

    Raises:
        InputError: naming the first fault, if `on_box_fault` is `"raise"`.
    """
    harmful = harmful_faults(entries)
    if harmful and on_box_fault == "raise":
        first = harmful[0]
        raise InputError(f"{first.file}: {first.kind}: {first.detail}; with {option}=drop, {CONSEQUENCES[first.kind]}")
    if harmful:
        _log.warning("%s: dropped, cut or left out: %s", source, describe_faults(harmful))


class Fault(Protocol):
    """A fault of any kind of labels."""

    @property
    def kind(self) -> str:
        """Kind of fault."""
        ...

    @property
    def file(self) -> str:
        """The file that it is in."""
        ...


def describe_faults(entries: Sequence[Fault]) -> str:
    """Return one line: how many faults of every kind there are, and the names of the first few files."""
    parts: list[str] = []
    for kind, count in Counter(entry.kind for entry in entries).items():
        files = list(dict.fromkeys(Path(entry.file).name for entry in entries if entry.kind == kind))
        listed = ", ".join(files[:_FEW]) + (", ..." if len(files) > _FEW else "")
        parts.append(f"{count} {kind} ({listed})")
    return printable("; ".join(parts)) or "nothing"
