"""How far an artefact may differ from its network, by precision."""

from collections.abc import Mapping
from dataclasses import dataclass

from parckit.contract import InputError, Precision


@dataclass(frozen=True, kw_only=True, slots=True)
class Tolerance:
    """How far the outputs and answers of two engines may differ.

    Attributes:
        numbers: largest difference of an output, as a share of the reference's largest number.
        cosine: least cosine between the outputs for one picture.
        agreement: least share of equal answers, such as pictures with the same class; see `measure.agreement`.
        score: largest difference of the probabilities of an answer. Answers whose probabilities differ by less are
            ties, which rounding decides.
        overlap: least intersection over union of the boxes of one object.
    """

    numbers: float
    cosine: float
    agreement: float
    score: float
    overlap: float


TOLERANCES: Mapping[Precision, Tolerance] = {
    "fp32": Tolerance(numbers=1e-4, cosine=0.9999, agreement=0.999, score=1e-3, overlap=0.99),
    "fp16": Tolerance(numbers=3e-2, cosine=0.99, agreement=0.98, score=0.05, overlap=0.9),
}


def tolerance_of(precision: Precision) -> Tolerance:
    """Return the usual tolerance of a precision.

    Raises:
        InputError: if the precision has none.
    """
    if precision not in TOLERANCES:
        raise InputError(f"precision={precision!r}: has no usual tolerance; only {', '.join(TOLERANCES)} have one")
    return TOLERANCES[precision]
