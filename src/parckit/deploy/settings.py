"""The settings of an export."""

from dataclasses import dataclass

from parckit.contract import InputError
from parckit.layers import FORMS, Form

LOWEST_OPSET = 11
"""The first opset in which Pad, Resize and Clip can do what torch does."""
HIGHEST_OPSET = 21
"""The last opset that ONNX Runtime 1.20 runs, the oldest version that we accept."""
HIGHEST_IR = 10
"""The last IR version that ONNX Runtime 1.20 loads."""
DYNAMO_OPSET = 18
"""The opset that torch's new exporter writes. It can convert to higher opsets, but not reliably to lower ones."""

_LOWEST_IR = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""Opset -> IR version of the ONNX release that introduced it. A test compares this table with the one in onnx."""

_MOST_IMAGES = 65_536
"""Most images that a graph takes at once."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """How to write an ONNX file.

    Attributes:
        opset: ONNX opset version.
        ir_version: ONNX IR version; None takes the lowest one that allows the opset.
        batch_size: number of images that the graph takes at once.
        form: form of convolutions along an axis. `"auto"` takes the form that is fastest in ONNX Runtime for the length
            of the axis. In other engines `"conv"` or `"matmul"` may be faster; `"matmul"` needs opset 18 or above.
        nms: for detectors: add a second artefact with the decoding of boxes and the suppression (NMS) inside.
        argmax: for networks that segment: add a second artefact with the resizing to the input's size and the argmax
            inside; it returns the class of every pixel.

    Raises:
        InputError: if a value is not accepted, or two values do not fit together.
    """

    opset: int = DYNAMO_OPSET
    ir_version: int | None = None
    batch_size: int = 1
    form: Form = "auto"
    nms: bool = False
    argmax: bool = False

    def __post_init__(self) -> None:
        if not LOWEST_OPSET <= self.opset <= HIGHEST_OPSET:
            raise InputError(f"opset={self.opset}: choose from {LOWEST_OPSET} to {HIGHEST_OPSET}")
        if self.ir_version is not None and not self.lowest_ir <= self.ir_version <= HIGHEST_IR:
            accepted = f"for opset {self.opset} choose from {self.lowest_ir} to {HIGHEST_IR}"
            raise InputError(f"ir_version={self.ir_version}: {accepted}")
        if not 1 <= self.batch_size <= _MOST_IMAGES:
            raise InputError(f"batch_size={self.batch_size}: must be from 1 to {_MOST_IMAGES}")
        if self.form not in FORMS:
            raise InputError(f"form={self.form!r}: choose from {', '.join(FORMS)}")
        if self.form == "matmul" and not self.uses_dynamo:
            raise InputError(
                f"form='matmul': needs opset {DYNAMO_OPSET} or above, not {self.opset}; choose auto or conv"
            )
        if self.nms and self.batch_size != 1:
            raise InputError(f"nms=True, batch_size={self.batch_size}: a graph with NMS inside takes one image")

    @property
    def lowest_ir(self) -> int:
        """The lowest IR version that allows the opset."""
        return _LOWEST_IR[self.opset]

    @property
    def ir(self) -> int:
        """The IR version to write."""
        return self.ir_version or self.lowest_ir

    @property
    def uses_dynamo(self) -> bool:
        """Whether torch's new exporter can write the opset; lower opsets need the old exporter."""
        return self.opset >= DYNAMO_OPSET

    @property
    def axis_form(self) -> Form:
        """The form to write. With the old exporter, it is `"conv"`.

        The old exporter would write a `"matmul"` whose graph computes the shapes of the matrices at run time.
        """
        return self.form if self.uses_dynamo else "conv"
