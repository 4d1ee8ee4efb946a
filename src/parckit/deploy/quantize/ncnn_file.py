"""The two files of ncnn, read and written: `.param` lists the layers, `.bin` holds their numbers one after another.

ncnn's own program that quantizes a network is not in its Python package.
"""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from parckit.deploy.errors import ExportError

MAGIC = "7767517"
"""First line of a `.param` file."""
INT8_TAG = 0x000D4B38
"""Number in front of weights that are stored as int8. In front of float32 it is zero."""
_WORD = 4
"""Bytes of a float; all numbers begin at a multiple of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Layer:
    """A layer.

    Attributes:
        kind: such as Convolution.
        name: its name.
        inputs: names of the blobs that it reads.
        outputs: names of the blobs that it writes.
        parameters: number of a parameter, as ncnn's documentation counts them -> its value.
        data: its part of the `.bin` file.
    """

    kind: str
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    parameters: Mapping[int, str]
    data: bytes = b""

    def number(self, parameter: int, default: int = 0) -> int:
        """Return a parameter that is a whole number."""
        return int(self.parameters.get(parameter, default))


@dataclass(frozen=True, slots=True)
class _Part:
    """Numbers of a layer. Weights have a tag in front that says how they are stored; other numbers have none."""

    count: int
    is_tagged: bool = False


_NOTHING = _Part(0)


def _convolution(layer: Layer) -> list[_Part]:
    return [_Part(layer.number(6), is_tagged=True), _Part(layer.number(0)) if layer.number(5) else _NOTHING]


def _inner_product(layer: Layer) -> list[_Part]:
    return [_Part(layer.number(2), is_tagged=True), _Part(layer.number(0)) if layer.number(1) else _NOTHING]


def _memory_data(layer: Layer) -> list[_Part]:
    return [_Part(math.prod(layer.number(side) or 1 for side in (0, 1, 11, 2)))]


def _norm(layer: Layer) -> list[_Part]:
    return [_Part(layer.number(0))] * 2 if layer.number(2, 1) else []


def _group_norm(layer: Layer) -> list[_Part]:
    return [_Part(layer.number(1))] * 2 if layer.number(3, 1) else []


def _gemm(layer: Layer) -> list[_Part]:
    rows, columns, inner = (layer.number(side) for side in (7, 8, 9))
    bias = {-1: 0, 0: 1, 1: rows, 2: rows, 3: rows * columns, 4: columns}[layer.number(10)]
    sizes = {4: rows * inner, 5: columns * inner, 6: bias}
    return [_Part(size, is_tagged=True) for constant, size in sizes.items() if layer.number(constant) and size]


_PARTS: Mapping[str, Callable[[Layer], Sequence[_Part]]] = {
    "Convolution": _convolution,
    "ConvolutionDepthWise": _convolution,
    "Deconvolution": _convolution,
    "DeconvolutionDepthWise": _convolution,
    "Gemm": _gemm,
    "GroupNorm": _group_norm,
    "InnerProduct": _inner_product,
    "LayerNorm": _norm,
    "MemoryData": _memory_data,
    "PReLU": lambda layer: [_Part(layer.number(0))],
}
"""Kind of a layer -> what it has in the `.bin` file. Other kinds of layers that we meet have nothing there."""


def read_layers(param: Path, binary: Path) -> list[Layer]:
    """Read a network in float32.

    Raises:
        ExportError: if the numbers are more or fewer than the layers need.
    """
    lines = [line for line in param.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    content, place = binary.read_bytes(), 0
    layers: list[Layer] = []
    for line in lines[2:]:
        layer = _parse(line)
        parts = _PARTS[layer.kind](layer) if layer.kind in _PARTS else ()
        size = sum(_WORD * (part.count + part.is_tagged) for part in parts)
        layers.append(_with(layer, data=content[place : place + size]))
        place += size
    if place != len(content):
        wrong = f"{binary.name} has {len(content)} bytes, and the layers that parckit knows need {place}"
        raise ExportError(f"ncnn: {wrong}; it cannot be quantized")
    return layers


def write_layers(layers: Sequence[Layer], param: Path, binary: Path) -> None:
    """Write a network."""
    blobs = {blob for layer in layers for blob in layer.outputs}
    lines = [MAGIC, f"{len(layers)} {len(blobs)}", *map(_line, layers)]
    param.write_text("\n".join(lines) + "\n", encoding="utf-8")
    binary.write_bytes(b"".join(layer.data for layer in layers))


def float_weights(layer: Layer) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return weights and biases of a convolution or an InnerProduct in float32; (0,) without biases."""
    weights, bias = _PARTS[layer.kind](layer)
    numbers = np.frombuffer(layer.data, np.float32)
    return numbers[1 : 1 + weights.count], numbers[1 + weights.count : 1 + weights.count + bias.count]


def in_int8(
    layer: Layer, steps: NDArray[np.int8], *, scales: NDArray[np.float32], bottom: float, top: float | None = None
) -> Layer:
    """Return a convolution or an InnerProduct that computes in int8.

    Args:
        layer: the layer in float32.
        steps: the quantized weights, in the order of the float ones.
        scales: steps in 1 for every output channel.
        bottom: steps in 1 of the input.
        top: steps in 1 of the output, if it shall be int8, too.
    """
    _, bias = float_weights(layer)
    tag = np.array([INT8_TAG], np.uint32).tobytes()
    weights = steps.tobytes()
    filled = weights + bytes(-len(weights) % _WORD)
    steps_in_one = np.array([*scales, bottom, *([] if top is None else [top])], np.float32)
    # Parameter 8 tells how many scales follow: here one a channel. 100 more mean that the output is int8.
    kind = (1 if layer.kind == "ConvolutionDepthWise" else 2) + (0 if top is None else 100)
    data = tag + filled + bias.tobytes() + steps_in_one.tobytes()
    return _with(layer, data=data, parameters={**layer.parameters, 8: str(kind)})


def _with(layer: Layer, *, data: bytes, parameters: Mapping[int, str] | None = None) -> Layer:
    return Layer(
        kind=layer.kind,
        name=layer.name,
        inputs=layer.inputs,
        outputs=layer.outputs,
        parameters=layer.parameters if parameters is None else parameters,
        data=data,
    )


def _parse(line: str) -> Layer:
    kind, name, inputs, outputs, *others = line.split()
    first, last = int(inputs), int(inputs) + int(outputs)
    parameters = _parameters(others[last:])
    return Layer(kind=kind, name=name, inputs=(*others[:first],), outputs=(*others[first:last],), parameters=parameters)


def _parameters(words: Iterable[str]) -> dict[int, str]:
    return {int(key): value for key, _, value in (word.partition("=") for word in words)}


def _line(layer: Layer) -> str:
    head = f"{layer.kind:<24} {layer.name:<24} {len(layer.inputs)} {len(layer.outputs)}"
    parameters = (f"{key}={value}" for key, value in layer.parameters.items())
    return " ".join((head, *layer.inputs, *layer.outputs, *parameters))
