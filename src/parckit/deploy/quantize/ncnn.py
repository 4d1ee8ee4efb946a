"""The writer of ncnn's files in int8: pnnx writes them in float32, then layers with weights get int8 ones.

ncnn's int8 is symmetric: a step is the largest number divided by 127. Its products are added in 32 bits, so all 8 bits
of the weights are used.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.contract import Artefact, InputError, sha256_of
from parckit.deploy.convert.ncnn import INPUT, LAYERS, WEIGHTS, describe_layers, write_with_pnnx
from parckit.deploy.quantize.ncnn_file import Layer, float_weights, in_int8, read_layers, write_layers
from parckit.deploy.quantize.qdq import WEIGHT_AXES
from parckit.deploy.quantize.scheme import SCHEME_FILE, write_scheme
from parckit.deploy.quantize.source import QuantizationSource

_MOST = 127
"""Largest step; -128 stays unused."""
_SMALLEST = 1e-20
"""Stands for the largest number of tensors that are zero everywhere."""
_WEIGHTED = ("Convolution", "InnerProduct")
"""Kinds of layers that compute in int8. Depthwise and grouped convolutions stay in float32: they have few of the
weights, and no record says that ncnn computes them faster in int8.
"""


def write(source: QuantizationSource, *, folder: Path) -> Artefact:
    """Write a network in int8, and the scheme beside it.

    Returns:
        The artefact, not yet checked. Paths of its files are relative to `folder`.

    Raises:
        InputError: if the float network takes several images at once.
        ExportError: if pnnx cannot convert the graph, or ncnn has no layer for an operator.
    """
    shape = source.artefact.input.shape
    if shape[0] != 1:
        raise InputError(f"batch_size={shape[0]}: ncnn takes one image at once; export with --batch_size 1")
    with TemporaryDirectory() as work:
        graph = Path(work) / "model.onnx"
        ir.save(source.rounded_model(), graph)
        write_with_pnnx(graph, [size or 1 for size in shape], folder=Path(work))
        layers = read_layers(Path(work) / LAYERS, Path(work) / WEIGHTS)
    write_layers(_Writer(source, layers).quantized(), folder / LAYERS, folder / WEIGHTS)
    described = source.describe("ncnn")
    artefact = replace(
        described, input=replace(described.input, name=INPUT), files=dict.fromkeys((LAYERS, WEIGHTS, SCHEME_FILE), "")
    )
    # The digests of the pictures stand in the contract; in the file they would be as large as a layer.
    describe_layers(folder / LAYERS, source.spec, replace(artefact, calibration=replace(source.calibration, sha256=())))
    write_scheme(source.scheme, folder / SCHEME_FILE)
    return replace(artefact, files={name: sha256_of(folder / name) for name in artefact.files})


@dataclass(frozen=True, kw_only=True, slots=True)
class _Numbers:
    """What the scheme says about a layer.

    Attributes:
        weights: the float weights, one row for each output channel.
        scales: steps in 1 of every channel's weights.
        input: largest absolute number of the layer's input.
    """

    weights: NDArray[np.float32]
    scales: NDArray[np.float32]
    input: float


@final
class _Writer:
    """Quantizes the layers of a network.

    pnnx gives layers other names than the graph's nodes, but keeps their weights. So a layer belongs to the node with
    the same weights.

    Args:
        source: the network and its scheme.
        layers: the float layers.
    """

    def __init__(self, source: QuantizationSource, layers: Sequence[Layer]) -> None:
        self._layers = layers
        numbers = _numbers_by_weights(source)
        self._numbers: dict[str, _Numbers] = {}
        for layer in layers:
            if layer.kind in _WEIGHTED:
                weights, _ = float_weights(layer)
                if nodes := numbers.get(weights.tobytes()):
                    self._numbers[layer.name] = nodes.pop(0)
        self._readers: dict[str, list[Layer]] = {}
        for layer in layers:
            for blob in layer.inputs:
                self._readers.setdefault(blob, []).append(layer)

    def quantized(self) -> list[Layer]:
        """Return all layers; those of nodes with 8 bits compute in int8."""
        return [self._quantize(layer) if layer.name in self._numbers else layer for layer in self._layers]

    def _quantize(self, layer: Layer) -> Layer:
        numbers = self._numbers[layer.name]
        scales = numbers.scales
        steps = np.clip(np.round(numbers.weights * scales[:, None]), -_MOST, _MOST).astype(np.int8)
        top = self._top(layer)
        return in_int8(
            layer, steps, scales=scales, bottom=_MOST / numbers.input, top=None if top is None else _MOST / top
        )

    def _top(self, layer: Layer) -> float | None:
        """Return the largest number of a convolution's output, if all layers that read it take it as int8."""
        if layer.kind == "InnerProduct":
            return None
        readers = self._final_readers(layer.outputs[0])
        inputs = {self._numbers[one.name].input if one.name in self._numbers else None for one in readers}
        return inputs.pop() if len(inputs) == 1 else None

    def _final_readers(self, blob: str) -> list[Layer]:
        """Return the layers that read a blob, or a copy of it."""
        readers: list[Layer] = []
        for layer in self._readers.get(blob, []):
            if layer.kind == "Split":
                readers += [reader for copy in layer.outputs for reader in self._final_readers(copy)]
            else:
                readers.append(layer)
        return readers


def _numbers_by_weights(source: QuantizationSource) -> Mapping[bytes, list[_Numbers]]:
    """Return the bytes of float weights -> what the scheme says about their nodes, in order; for nodes with 8 bits."""
    scheme = source.scheme
    numbers: dict[bytes, list[_Numbers]] = {}
    for node in source.rounded_model().graph:
        name = (node.inputs[0].name or "") if node.inputs and node.inputs[0] is not None else ""
        has_weights = node.op_type in WEIGHT_AXES and scheme.bits.get(node.name or "") == 8
        if not has_weights or name not in scheme.ranges:
            continue
        value = node.inputs[1]
        if value is None or value.const_value is None:
            continue
        weights = value.const_value.numpy().astype(np.float32)
        is_transposed = node.op_type == "MatMul" or (
            node.op_type == "Gemm" and not node.attributes.get_int("transB", 0)
        )
        rows = np.ascontiguousarray(weights.T if is_transposed else weights).reshape(weights.shape[is_transposed], -1)
        grid = scheme.weight_scales.get(value.name or "")
        sizes = np.abs(rows).max(axis=1) / _MOST if grid is None else np.array(grid)
        ends = scheme.ranges[name]
        highest = max(-ends[0], ends[1], _SMALLEST)
        of_node = _Numbers(weights=rows, scales=(1 / np.maximum(sizes, _SMALLEST)).astype(np.float32), input=highest)
        numbers.setdefault(rows.tobytes(), []).append(of_node)
    return numbers
