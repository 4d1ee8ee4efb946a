"""The settings of an export: what holds for all engines, and what only ONNX files have."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from parckit.contract import InputError, Precision
from parckit.deploy.targets import ConvLimits, find_target
from parckit.layers import Form
from parckit.runtimes import CHECKPOINT, find_engine

ExportForm = Literal["auto", "conv", "matmul", "timed"]
"""A form of convolutions along an axis, or that the engine shall decide."""

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
class OnnxSettings:
    """How to write an ONNX file, or the one that another file is made of.

    Attributes:
        opset: ONNX opset version.
        ir_version: ONNX IR version; None takes the lowest one that allows the opset.

    Raises:
        InputError: if a value is not accepted, or the two do not fit together.
    """

    opset: int = DYNAMO_OPSET
    ir_version: int | None = None

    def __post_init__(self) -> None:
        if not LOWEST_OPSET <= self.opset <= HIGHEST_OPSET:
            raise InputError(f"opset={self.opset}: choose from {LOWEST_OPSET} to {HIGHEST_OPSET}")
        if self.ir_version is not None and not self.lowest_ir <= self.ir_version <= HIGHEST_IR:
            accepted = f"for opset {self.opset} choose from {self.lowest_ir} to {HIGHEST_IR}"
            raise InputError(f"ir_version={self.ir_version}: {accepted}")

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


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportSettings:
    """What to make of a network, for all engines.

    Attributes:
        engines: the engines that shall run the network; every one gets an artefact, or shares one.
        precision: the precisions of the artefacts; each is made for the engines that run it.
        batch_size: number of images that the network takes at once.
        dynamic_batch: let the network take any number of images at once; not all engines can.
        form: form of convolutions along an axis. `"auto"` takes the form that is fastest in ONNX Runtime for the length
            of the axis. In other engines `"conv"` or `"matmul"` may be faster: `"timed"` runs both in the engine and
            remembers the faster one for the next export. In ONNX files `"matmul"` needs opset 18 or above.
        longest_kernel: split convolutions with a longer kernel along an axis into sums of shorter ones; None splits
            none.
        target: a board: rdk-x5, rk3588 or generic-npu. A network that exceeds its published limits is refused. On the
            command line, the board also sets the opset, the form and the longest kernel, if you do not; in Python,
            `settings_for` does.
        nms: for detectors: add a second ONNX artefact with the decoding of boxes and the suppression (NMS) inside.
        argmax: for networks that segment: add a second ONNX artefact with the resizing to the input's size and the
            argmax inside; it returns the class of every pixel.
        onnx: what only ONNX files have.

    Raises:
        InputError: if a value is not accepted, or two values do not fit together.
    """

    engines: tuple[str, ...] = ("onnxruntime",)
    precision: tuple[Precision, ...] = ("fp32",)
    batch_size: int = 1
    dynamic_batch: bool = False
    form: ExportForm = "auto"
    longest_kernel: int | None = None
    target: str | None = None
    nms: bool = False
    argmax: bool = False
    onnx: OnnxSettings = field(default_factory=OnnxSettings)

    def __post_init__(self) -> None:
        if not 1 <= self.batch_size <= _MOST_IMAGES:
            raise InputError(f"batch_size={self.batch_size}: must be from 1 to {_MOST_IMAGES}")
        if self.form not in get_args(ExportForm):
            raise InputError(f"form={self.form!r}: choose from {', '.join(get_args(ExportForm))}")
        if self.longest_kernel is not None and self.longest_kernel < 1:
            raise InputError(f"longest_kernel={self.longest_kernel}: must be 1 or more")
        if self.target is not None:
            find_target(self.target)
        if self.form == "matmul" and not self.onnx.uses_dynamo:
            raise InputError(
                f"form='matmul': needs opset {DYNAMO_OPSET} or above, not {self.onnx.opset}; choose auto or conv"
            )
        if self.nms and self.batch_size != 1:
            raise InputError(f"nms=True, batch_size={self.batch_size}: a graph with NMS inside takes one image")
        if self.dynamic_batch and (self.nms or self.argmax or self.batch_size != 1):
            raise InputError("dynamic_batch=True: fits neither nms, argmax nor a batch_size")
        self._check_engines()
        for option in ("nms", "argmax"):
            if getattr(self, option) and not ("onnxruntime" in self.engines and "fp32" in self.precision):
                raise InputError(f"{option}=True: needs the engine onnxruntime and the precision fp32 among the others")

    def _check_engines(self) -> None:
        for option, values in (("engines", self.engines), ("precision", self.precision)):
            if not values or len(set(values)) != len(values):
                raise InputError(f"{option}={','.join(values)}: name one or more, each once")
        for name in self.engines:
            if find_engine(name, option="engines").formats == (CHECKPOINT,):
                raise InputError(f"engines={name}: opens checkpoints, and needs no export")
        for precision in self.precision:
            if precision not in get_args(Precision):
                raise InputError(f"precision={precision!r}: choose from {', '.join(get_args(Precision))}")

    @property
    def axis_form(self) -> Form:
        """The form to write, if the engine does not decide. With the old exporter, it is `"conv"`.

        The old exporter would write a `"matmul"` whose graph computes the shapes of the matrices at run time.
        """
        if not self.onnx.uses_dynamo:
            return "conv"
        return "auto" if self.form == "timed" else self.form

    @property
    def conv_limits(self) -> ConvLimits | None:
        """The limits of a convolution on the board; None without a board."""
        return None if self.target is None else find_target(self.target).conv

    @property
    def options(self) -> dict[str, object]:
        """What an artefact says about how it was made, in every format."""
        options = {"form": self.form, "longest_kernel": self.longest_kernel, "target": self.target}
        return {name: value for name, value in options.items() if value is not None}


def settings_for(target: str) -> ExportSettings:
    """Return the settings with which a network is exported for a board.

    The form is `"conv"`, because NPUs are made for convolutions.

    Raises:
        InputError: if the board is not known.
    """
    board = find_target(target)
    return ExportSettings(
        batch_size=board.batch_size,
        form="conv",
        longest_kernel=board.longest_kernel,
        target=target,
        onnx=OnnxSettings(opset=board.opset),
    )
