"""What can be wrong with the masks of a source: a record that counts the faults and names their files."""

import logging
from collections.abc import Iterable, Mapping
from typing import Literal, NamedTuple

from parckit.contract import InputError
from parckit.data.box_faults import describe_faults

MaskFaultKind = Literal[
    "missing mask",
    "missing picture",
    "broken picture",
    "broken mask",
    "wrong size",
    "unclear turn",
    "in two splits",
    "unknown value",
    "unknown colour",
    "all void",
]

OnMaskFault = Literal["drop", "raise"]
"""What happens to faulty masks."""

MASK_CONSEQUENCES: Mapping[MaskFaultKind, str] = {
    "missing mask": "the picture is left out",
    "missing picture": "the mask is left out",
    "broken picture": "the picture is left out",
    "broken mask": "the picture is left out",
    "wrong size": "the picture is left out: nobody knows which pixels the classes belong to",
    "unclear turn": "the mask stays as it is",
    "in two splits": "the picture is taken once, from the first of them",
    "unknown value": "these pixels are ignored",
    "unknown colour": "these pixels are ignored",
    "all void": "the picture stays: no pixel of it counts",
}
"""Kind of fault -> what happens if faulty masks are dropped."""

HARMLESS_IN_MASKS: frozenset[MaskFaultKind] = frozenset({"unclear turn", "all void"})
"""Kinds that may be intended. They are counted, but nothing is dropped, and they never raise."""

_log = logging.getLogger(__name__)


class MaskFault(NamedTuple):
    """A fault of a mask or of a picture.

    Attributes:
        kind: kind of fault.
        file: file of the mask, or of the picture if that is at fault.
        detail: one line that describes it.
    """

    kind: MaskFaultKind
    file: str
    detail: str


def tell_mask_faults(entries: Iterable[MaskFault], *, source: str, on_mask_fault: OnMaskFault) -> None:
    """Warn of the faults of a source that change what is read, or refuse it.

    Raises:
        InputError: naming the first fault, if `on_mask_fault` is `"raise"`.
    """
    harmful = tuple(entry for entry in entries if entry.kind not in HARMLESS_IN_MASKS)
    if harmful and on_mask_fault == "raise":
        raise refusal(harmful[0])
    if harmful:
        _log.warning("%s: left out: %s", source, describe_faults(harmful))


def refusal(fault: MaskFault) -> InputError:
    """Return the error that refuses a fault."""
    consequence = MASK_CONSEQUENCES[fault.kind]
    return InputError(f"{fault.file}: {fault.kind}: {fault.detail}; with on_mask_fault=drop, {consequence}")
