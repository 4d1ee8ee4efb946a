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
    "fp32": Tolerance(numbers=1e-4, cosine=0.99999, agreement=0.999, score=1e-3, overlap=0.99),
    "fp16": Tolerance(numbers=3e-2, cosine=0.999, agreement=0.98, score=0.05, overlap=0.9),
}
"""The usual tolerance of a precision.

Engines fold batch norms, and they add the terms of a convolution in different orders. We measured this in ONNX Runtime,
OpenVINO, MNN and ncnn, with networks of every family, task and head, whose weights were random or trained. In float32
(unit roundoff 6e-8) the outputs changed by 1e-7 to 2e-5 of the largest number, and 1 - cosine was 8e-11 at most. In
half precision (unit roundoff 5e-4) they changed by 5e-4 to 6e-3, and 1 - cosine was 5e-5 at most. All answers that were
no ties were equal, in both precisions.

`numbers` and `cosine` leave room for deeper networks. In half precision, `numbers` refuses a wrong layer, but not a
small fault in pictures whose outputs are small; `cosine` looks at every picture by itself. `agreement` demands that all
pictures have the same class, because a check has fewer than 50. Of many pixels or boxes, some may differ, because the
errors of some pictures are larger. Half precision may change logits near 15 by 0.2, and so probabilities by 0.05.
"""


def tolerance_of(precision: Precision) -> Tolerance:
    """Return the usual tolerance of a precision.

    Raises:
        InputError: if the precision has none.
    """
    if precision not in TOLERANCES:
        raise InputError(f"precision={precision!r}: has no usual tolerance; only {', '.join(TOLERANCES)} have one")
    return TOLERANCES[precision]
