"""How an export is to be written."""

from dataclasses import dataclass

from parckit.contract import InputError
from parckit.layers import FORMS, Form

LOWEST_OPSET = 11
"""The first whose Pad, Resize and Clip can say what torch means."""
HIGHEST_OPSET = 21
"""The last that the oldest ONNX Runtime we accept (1.20) runs."""
HIGHEST_IR = 10
"""The last that it loads."""
DYNAMO_OPSET = 18
"""What torch's exporter writes itself; it converts upwards from there, but not reliably downwards."""

_LOWEST_IR = {11: 6, 12: 7, 13: 7, 14: 7, 15: 8, 16: 8, 17: 8, 18: 8, 19: 9, 20: 9, 21: 10}
"""The IR version of the ONNX release that brought each opset; a test compares it with onnx's own table."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """How an ONNX file is to be written.

    Attributes:
        opset: ONNX operator set.
        ir_version: ONNX IR version; None takes the lowest in which the opset may appear.
        batch_size: images that the graph takes at once.
        form: form of convolutions along an axis. `"auto"` is what ONNX Runtime runs fastest for each length; other
            engines may run `"conv"` or `"matmul"` (from opset 18 on) faster.

    Raises:
        InputError: if a value cannot be written, alone or together with another one.
    """

    opset: int = DYNAMO_OPSET
    ir_version: int | None = None
    batch_size: int = 1
    form: Form = "auto"

    def __post_init__(self) -> None:
        if not LOWEST_OPSET <= self.opset <= HIGHEST_OPSET:
            raise InputError(f"opset={self.opset}: choose from {LOWEST_OPSET} to {HIGHEST_OPSET}")
        if self.ir_version is not None and not self.lowest_ir <= self.ir_version <= HIGHEST_IR:
            accepted = f"for opset {self.opset} choose from {self.lowest_ir} to {HIGHEST_IR}"
            raise InputError(f"ir_version={self.ir_version}: {accepted}")
        if self.batch_size < 1:
            raise InputError(f"batch_size={self.batch_size}: must be at least 1")
        if self.form not in FORMS:
            raise InputError(f"form={self.form!r}: choose from {', '.join(FORMS)}")
        if self.form == "matmul" and not self.uses_dynamo:
            raise InputError(
                f"form='matmul': needs opset {DYNAMO_OPSET} or above, not {self.opset}; choose auto or conv"
            )

    @property
    def lowest_ir(self) -> int:
        """The lowest IR version in which the opset may appear."""
        return _LOWEST_IR[self.opset]

    @property
    def ir(self) -> int:
        """The IR version to write."""
        return self.ir_version or self.lowest_ir

    @property
    def uses_dynamo(self) -> bool:
        """Whether torch's new exporter writes the opset; older opsets need the old one."""
        return self.opset >= DYNAMO_OPSET

    @property
    def axis_form(self) -> Form:
        """The form to write: the old exporter would leave the matrices' shapes to be computed by the graph."""
        return self.form if self.uses_dynamo else "conv"
