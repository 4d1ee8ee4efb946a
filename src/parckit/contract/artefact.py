"""An artefact: one form of a network, ready for an engine, with all that an engine's user must know of it."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Literal, get_args

from parckit.contract.errors import InputError

Precision = Literal["fp32", "fp16", "int8"]
Layout = Literal["NCHW", "NHWC"]
ElementType = Literal["float32", "uint8"]
DecodingOption = Literal["nms", "argmax"]
"""Options of artefacts with their decoding inside the graph: the suppression of boxes, or the best class of pixels."""
Setting = int | float | tuple[float, ...]
"""A value that callers of a decoder may override: a number, or one number for every class."""

FLOAT_ONNX, INT8_ONNX = "onnx-fp32", "onnx-int8"
"""Names of the artefacts in ONNX that others are made from: the float32 one, and the int8 one."""
TRAINED = "trained"
"""How the numbers of an int8 network were chosen that was trained with fake quantizers. Others name a calibrator."""

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*")
_LAYOUT = re.compile(r"[A-Z]+")


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSpec:
    """An artefact's only input.

    Attributes:
        name: name of the graph's input.
        dtype: element type.
        layout: order of the dimensions.
        shape: sizes in that order; None for a free dimension.
        normalised_inside: whether the artefact itself divides by 255 and normalises: it then takes pixel values from 0
            to 255. Otherwise the caller does, as `Preprocessing` says.
    """

    name: str = "image"
    dtype: ElementType = "float32"
    layout: Layout = "NCHW"
    shape: tuple[int | None, ...] = (None, 3, None, None)
    normalised_inside: bool = False

    def __post_init__(self) -> None:
        _check_choice("layout", self.layout, get_args(Layout))
        _check_choice("dtype", self.dtype, get_args(ElementType))
        _check_shape(self.shape, self.layout)
        if self.shape[self.layout.index("C")] not in (1, 3):
            raise InputError(f"shape={self.shape}: needs 3 channels in {self.layout}, or 1 for grey images")
        if self.dtype == "uint8" and not self.normalised_inside:
            raise InputError("dtype='uint8': only an artefact with the normalisation inside takes whole numbers")

    @property
    def batch_size(self) -> int | None:
        """Images of one run; None if any number will do."""
        return self.shape[0]

    @property
    def channels(self) -> int:
        """Number of channels of an image."""
        return self.shape[self.layout.index("C")] or 3

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), pixels; None if one of them is free."""
        height, width = (self.shape[self.layout.index(axis)] for axis in "HW")
        return None if height is None or width is None else (height, width)


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSpec:
    """One of an artefact's outputs.

    Attributes:
        name: name of the graph's output.
        dtype: element type, such as float32.
        layout: a different capital letter for each dimension. N in front means that the first dimension is the batch.
        shape: sizes in that order; None for a free dimension.
    """

    name: str
    dtype: str
    layout: str
    shape: tuple[int | None, ...]

    def __post_init__(self) -> None:
        _check_shape(self.shape, self.layout)


@dataclass(frozen=True, kw_only=True, slots=True)
class DecoderSpec:
    """How an artefact's outputs become an answer.

    Attributes:
        name: name of the decoder in `parckit.processing`.
        parameters: what it needs to know, such as the strides of the maps; fixed.
        defaults: thresholds and counts that callers may override, with the values that hold otherwise. A value may be a
            list with one number for every class.
    """

    name: str
    parameters: Mapping[str, object] = field(default_factory=dict[str, object])
    defaults: Mapping[str, Setting] = field(default_factory=dict[str, Setting])


@dataclass(frozen=True, kw_only=True, slots=True)
class Calibration:
    """The pictures that a quantizer saw.

    Attributes:
        method: such as percentile.
        count: number of pictures.
        sha256: digest of every picture's size and pixels, so that it does not depend on the format of a file.
    """

    method: str
    count: int
    sha256: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Check:
    """What an engine gave for an artefact, compared with the torch network that it was made of.

    Attributes:
        engine: name in the table of engines.
        version: version of the engine; empty if it was not run.
        passed: whether the outputs agree; None if it was not run.
        figures: measured numbers by name, such as `max_abs`, `tolerance`, `images` and `peak_memory_bytes`. An int8
            artefact has `sqnr`, decibels, and with labels `float_score` and `int8_score`, percent.
        reason: why it was not run; or why it did not pass, if the figures do not say so.
    """

    engine: str
    version: str = ""
    passed: bool | None
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    reason: str | None = None

    def __post_init__(self) -> None:
        if (self.passed is None and self.reason is None) or (self.passed and self.reason is not None):
            raise InputError(f"check on {self.engine}: needs a result, or a reason why it was not run")


@dataclass(frozen=True, kw_only=True, slots=True)
class Artefact:
    """One form of the network, ready for an engine.

    Attributes:
        name: unique in the bundle; the name of its subfolder.
        format: format of its files, such as onnx.
        precision: precision of its arithmetic.
        files: path inside the bundle -> sha256. The first one is the one that an engine opens.
        input: its input.
        outputs: its outputs, in order.
        decoder: how they become an answer.
        options: how it was made, such as opset, IR version and form.
        calibration: what its quantizer saw; None without one.
        checks: one an engine.
    """

    name: str
    format: str
    precision: Precision
    files: Mapping[str, str]
    input: InputSpec
    outputs: tuple[OutputSpec, ...]
    decoder: DecoderSpec
    options: Mapping[str, object] = field(default_factory=dict[str, object])
    calibration: Calibration | None = None
    checks: tuple[Check, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise InputError(f"artefact name {self.name!r}: use small letters, digits, dots and hyphens")
        _check_choice("precision", self.precision, get_args(Precision))
        if not self.files or not self.outputs:
            raise InputError(f"artefact {self.name!r}: has no files or no outputs")
        for file in self.files:
            if PurePosixPath(file).is_absolute() or ".." in PurePosixPath(file).parts:
                raise InputError(f"artefact {self.name!r}: file {file!r} lies outside the bundle")

    @property
    def main_file(self) -> str:
        """Path, inside the bundle, of the file that an engine opens."""
        return next(iter(self.files))

    @property
    def sha256(self) -> str:
        """Digest of all its files: that of its only file, or one of the digests of several files, in their order."""
        digests = list(self.files.values())
        return digests[0] if len(digests) == 1 else hashlib.sha256("\n".join(digests).encode()).hexdigest()

    @property
    def runs_in_chunks(self) -> bool:
        """Whether all outputs begin with the batch, so that images can be run in groups of any size."""
        return begin_with_batch(self.outputs)

    @property
    def is_trained_in_int8(self) -> bool:
        """Whether training with fake quantizers has chosen its numbers, and no calibration."""
        return self.precision == "int8" and self.options.get("quantization") == TRAINED

    @property
    def decodes_inside(self) -> bool:
        """Whether it is the copy of an artefact of raw maps with their decoding inside the graph."""
        return any(self.options.get(name) is True for name in get_args(DecodingOption))


def begin_with_batch(outputs: Sequence[OutputSpec]) -> bool:
    """Return whether all outputs begin with the batch. Where not, as with detections, images are run one by one."""
    return all(output.layout.startswith("N") for output in outputs)


def image_groups(outputs: Sequence[OutputSpec], *, count: int) -> list[slice]:
    """Return which of `count` images a network with these outputs takes at once: all of them, or one by one."""
    return [slice(0, count)] if begin_with_batch(outputs) else [slice(index, index + 1) for index in range(count)]


def _check_choice(name: str, value: str, accepted: tuple[str, ...]) -> None:
    if value not in accepted:
        raise InputError(f"{name}={value!r}: choose from {', '.join(accepted)}")


def _check_shape(shape: tuple[int | None, ...], layout: str) -> None:
    """Refuse a layout that does not name every dimension once, and sizes below 1."""
    if not _LAYOUT.fullmatch(layout) or len(set(layout)) != len(layout) or len(layout) != len(shape):
        raise InputError(f"layout={layout!r}, shape={shape}: the layout needs a different letter for each dimension")
    if any(size is not None and size < 1 for size in shape):
        raise InputError(f"shape={shape}: sizes must be at least 1, or null for a free dimension")
