"""What can be wrong with boxes and masks: a record that counts the faults and names their files.

`on_box_fault` and `on_mask_fault` say what happens to faults, in training and in evaluation alike:

- The names and headers of files, and boxes, are checked when a source is opened. `"drop"` leaves out, drops or cuts
  what is faulty, and a warning counts the faults of every kind. `"raise"` refuses the source and names the first fault.
- What only the pixels of a mask tell is checked whenever the mask is read. `"drop"` ignores pixels of no class; every
  process warns of the first few masks. `"raise"` stops at the first such mask, whatever `on_error` says.
- A picture or a mask that cannot be decoded, although its header is whole, is left to `on_error`.

`parckit data check` reads everything, and counts and names all faults.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from parckit.contract import InputError, printable

FaultKind = Literal[
    # of files
    "missing picture",
    "broken picture",
    "wrong size",
    "unclear turn",
    "in two splits",
    # of boxes
    "zero size",
    "partly outside",
    "outside",
    "duplicate",
    "near duplicate",
    "unknown class",
    "wrong unit",
    "bad mask",
    "missing labels",
    "no picture",
    "background",
    # of files of masks
    "missing mask",
    "two masks",
    "broken mask",
    "no colour table",
    "unknown value",
    "unknown colour",
    "all void",
]

OnBoxFault = Literal["drop", "raise"]
"""What happens to faulty boxes."""

OnMaskFault = Literal["drop", "raise"]
"""What happens to faulty masks."""

CONSEQUENCES: Mapping[FaultKind, str] = {
    "missing picture": "its labels are left out",
    "broken picture": "the picture is left out",
    "wrong size": "the picture is left out: nobody knows where in it its labels lie",
    "unclear turn": "the labels stay as they are",
    "in two splits": "the picture is taken once, from the first of them",
    "zero size": "the box is dropped",
    "partly outside": "the box is cut at the border of the picture",
    "outside": "the box is dropped",
    "duplicate": "the box is dropped",
    "near duplicate": "both boxes stay",
    "unknown class": "the box is dropped",
    "wrong unit": "the box is dropped",
    "bad mask": "the object is dropped if none of its mask is left, or segmentation ignores the pixels of its box",
    "missing labels": "the picture is left out: it may show objects",
    "no picture": "the boxes are left out",
    "background": "the picture stays, without objects",
    "missing mask": "the picture is left out",
    "two masks": "the picture is left out: nobody knows which mask is right",
    "broken mask": "the picture is left out",
    "no colour table": "on_error says what happens",
    "unknown value": "these pixels are ignored",
    "unknown colour": "these pixels are ignored",
    "all void": "the picture stays, but no pixel of it counts",
}
"""Kind of fault -> what happens if faulty boxes and masks are dropped."""

HARMLESS: frozenset[FaultKind] = frozenset({"near duplicate", "background", "unclear turn"})
"""Kinds that may be intended. They are counted, but nothing is dropped, and they never raise."""

_log = logging.getLogger(__name__)

_FEW = 3
"""Number of files in a line before "..."."""


class Fault(NamedTuple):
    """A fault of a box, a mask, a picture or a file of labels.

    Attributes:
        kind: kind of fault.
        file: file of the labels or of the mask; the picture if that is at fault, or if one file holds the labels of all
            pictures.
        detail: one line that describes it.
    """

    kind: FaultKind
    file: str
    detail: str


class RefusedFaultError(InputError):
    """A fault that `on_box_fault` or `on_mask_fault` refuses. `on_error` does not skip it."""


def harmful_faults(faults: Iterable[Fault]) -> tuple[Fault, ...]:
    """Return the faults that change what is read."""
    return tuple(fault for fault in faults if fault.kind not in HARMLESS)


def tell_faults(faults: Iterable[Fault], *, source: str, on_fault: Literal["drop", "raise"], option: str) -> None:
    """Warn of the faults of a source that change what is read, or refuse it.

    Args:
        faults: what is wrong with the source.
        source: names the source in the warning.
        on_fault: whether faults are refused.
        option: name of the option that says so, for errors.

    Raises:
        RefusedFaultError: naming the first fault, if `on_fault` is `"raise"`.
    """
    harmful = harmful_faults(faults)
    if harmful and on_fault == "raise":
        raise refusal(harmful[0], option=option)
    if harmful:
        _log.warning("%s: dropped, cut or left out: %s", source, describe_faults(harmful))


def refusal(fault: Fault, *, option: str) -> RefusedFaultError:
    """Return the error that refuses a fault. It names the option that would accept it."""
    return RefusedFaultError(
        f"{fault.file}: {fault.kind}: {fault.detail}; with {option}=drop, {CONSEQUENCES[fault.kind]}"
    )


def describe_faults(faults: Sequence[Fault]) -> str:
    """Return one line: how many faults of every kind there are, and the names of the first few files."""
    parts: list[str] = []
    for kind, count in Counter(fault.kind for fault in faults).items():
        files = list(dict.fromkeys(Path(fault.file).name for fault in faults if fault.kind == kind))
        listed = ", ".join(files[:_FEW]) + (", ..." if len(files) > _FEW else "")
        parts.append(f"{count} {kind} ({listed})")
    return printable("; ".join(parts)) or "nothing"
