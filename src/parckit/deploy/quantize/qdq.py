"""The QDQ writer: a float ONNX graph and a scheme become a graph with QuantizeLinear and DequantizeLinear nodes.

A node with 8 or 16 bits gets its activations, and what it returns, through such a pair, its weights as int8 and its
biases as int32. ONNX Runtime's own tool quantizes a tensor for all nodes that read it. Here a node that stays in
float32 reads the float tensor where another float node made it, so that the sum along a residual path is not rounded
again in every block.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import final

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as passes

from parckit.deploy.quantize.constants import add_constant, constant_of
from parckit.deploy.quantize.grids import Grid, activation_grid, bias_grid, weight_grid
from parckit.deploy.quantize.scheme import Scheme

LEAST_OPSET, LEAST_OPSET_16 = 13, 21
"""Lowest opsets whose QuantizeLinear takes one scale a channel, and 16 bits."""

WEIGHT_AXES: Mapping[str, int] = {"Conv": 0, "ConvTranspose": 1, "Gemm": 1, "MatMul": -1}
"""Operator with weights -> axis of its output channels in the weights (of a Gemm: without `transB`)."""
_FUSED = ("Relu", "Clip")
"""Activations that engines compute inside the operator before them, if nothing is quantized in between."""
_FLOAT = ir.DataType.FLOAT


def write_qdq(model: ir.Model, scheme: Scheme) -> ir.Model:
    """Return the quantized copy of a float graph.

    Args:
        model: the graph; opset 13 or above, 21 or above if the scheme has nodes of 16 bits. All nodes have names.
        scheme: how to quantize it.
    """
    copy = ir.from_proto(ir.to_proto(model))
    writer = _Writer(copy, scheme)
    for node in list(copy.graph):
        bits = scheme.bits.get(node.name or "")
        if bits is not None:
            writer.quantize(node, bits)
    writer.store(scheme.stored)
    copy.graph.sort()
    for step in (passes.RemoveUnusedNodesPass(), passes.DeduplicateInitializersPass()):
        copy = step(copy).model
    return copy


def weight_axis(node: ir.Node) -> int:
    """Return the axis of the output channels in the weights of a node."""
    transposed = node.op_type == "Gemm" and node.attributes.get_int("transB", 0)
    return 0 if transposed else WEIGHT_AXES[node.op_type]


def is_stack(node: ir.Node, weights: NDArray[np.float32]) -> bool:
    """Return whether the constant of a matrix product has a matrix for each channel, as in global convolutions."""
    return node.op_type == "MatMul" and weights.ndim > 2


def is_activation(value: ir.Value | None) -> bool:
    """Return whether a value is a float tensor that depends on the image."""
    return value is not None and value.const_value is None and value.dtype in (None, _FLOAT)


@final
@dataclass
class _Writer:
    """Adds the pairs to a graph.

    Attributes:
        model: the graph.
        scheme: how to quantize it.
        pairs: name of a tensor and bits -> its dequantized value.
    """

    model: ir.Model
    scheme: Scheme
    pairs: dict[tuple[str, int], ir.Value] = field(default_factory=dict[tuple[str, int], ir.Value])

    def quantize(self, node: ir.Node, bits: int) -> None:
        """Give a node quantized inputs and outputs."""
        grids: dict[int, Grid] = {}
        for place, value in enumerate(node.inputs):
            is_inside = value is not None and node.op_type in _FUSED and _is_fused(value)
            if value is not None and not is_inside and (value.name or "") in self.scheme.ranges:
                grids[place] = self._grid(value.name or "", bits)
                node.replace_input_with(place, self._pair(value, bits))
        if node.op_type in WEIGHT_AXES:
            self._quantize_constants(node, grids, bits=bits)
        for value in node.outputs:
            if not _is_fused(value) and (value.name or "") in self.scheme.ranges:
                self._quantize_output(value, bits)

    def store(self, names: Sequence[str]) -> None:
        """Store constants as int8. They are dequantized before their nodes read them."""
        for number, name in enumerate(names):
            value = self.model.graph.initializers[name]
            numbers = constant_of(value)
            if numbers is None or not value.uses():
                continue
            # Every line along the first axis that has several entries gets a scale.
            axis = next((place for place, side in enumerate(numbers.shape) if side > 1), 0)
            result = self._dequantized(f"stored_{number}", numbers, weight_grid(numbers, axis=axis), axis=axis)
            for node, place in list(value.uses()):
                node.replace_input_with(place, result)

    def _grid(self, name: str, bits: int) -> Grid:
        return activation_grid(self.scheme.ranges[name], bits=bits)

    def _pair(self, value: ir.Value, bits: int) -> ir.Value:
        """Return the dequantized form of a value; it is made at the first call."""
        name = value.name or ""
        if (name, bits) in self.pairs:
            return self.pairs[name, bits]
        if _bits_of(value) == bits:
            return value
        # Another tensor may be called x_8, so that this name must be longer.
        quantized, dequantized = self._nodes(value, self._grid(name, bits), name=f"{name}_in_{bits}_bits")
        self.pairs[name, bits] = dequantized.outputs[0]
        self.model.graph.extend([quantized, dequantized])
        return dequantized.outputs[0]

    def _quantize_output(self, value: ir.Value, bits: int) -> None:
        """Let all that read a node's output read it dequantized. The pair's name is that of the output."""
        name = value.name or ""
        readers = list(value.uses())
        value.name = f"{name}_float"
        quantized, dequantized = self._nodes(value, self._grid(name, bits), name=name)
        result = dequantized.outputs[0]
        result.name = name
        for reader, place in readers:
            reader.replace_input_with(place, result)
        outputs = self.model.graph.outputs
        for place, output in enumerate(outputs):
            if output is value:
                outputs[place] = result
        self.model.graph.extend([quantized, dequantized])

    def _nodes(self, value: ir.Value, grid: Grid, *, name: str) -> tuple[ir.Node, ir.Node]:
        """Return a QuantizeLinear and a DequantizeLinear node."""
        parameters = self._parameters(grid, name=name)
        quantized = ir.node("QuantizeLinear", [value, *parameters], name=f"{name}_q")
        quantized.outputs[0].name = f"{name}_q"
        dequantized = ir.node("DequantizeLinear", [quantized.outputs[0], *parameters], name=f"{name}_dq")
        result = dequantized.outputs[0]
        result.name, result.shape, result.type = f"{name}_dq", value.shape, ir.TensorType(_FLOAT)
        return quantized, dequantized

    def _parameters(self, grid: Grid, *, name: str) -> list[ir.Value]:
        parts = ((grid.scale, f"{name}_s"), (grid.zero_point, f"{name}_z"))
        return [add_constant(self.model, numbers, name=part) for numbers, part in parts]

    def _quantize_constants(self, node: ir.Node, activations: Mapping[int, Grid], *, bits: int) -> None:
        """Give a node int8 weights and int32 biases. A stack of matrices gets the grid of an activation.

        Engines have one scale for such a stack, and unsigned numbers never saturate.
        """
        for place, value in enumerate(node.inputs[:2]):
            weights = constant_of(value)
            if value is None or weights is None:
                continue
            axis = weight_axis(node) % weights.ndim if place == 1 and not is_stack(node, weights) else None
            scales = self.scheme.weight_scales.get(value.name or "")
            if is_stack(node, weights):
                grid = activation_grid((float(weights.min()), float(weights.max())), bits=bits)
            else:
                grid = weight_grid(weights, axis=axis, scales=scales)
            bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
            if bias is not None and 0 in activations:
                grid = grid.widened_for(bias, activations[0])
            # Names of weights are long, and would be a tenth of a small file.
            node.replace_input_with(place, self._dequantized(f"{node.name}_w{place}", weights, grid, axis=axis))
            if bias is not None and 0 in activations:
                biases = bias_grid(activations[0], grid)
                node.replace_input_with(2, self._dequantized(f"{node.name}_b", bias, biases, axis=0))

    def _dequantized(self, name: str, numbers: NDArray[np.float32], grid: Grid, *, axis: int | None) -> ir.Value:
        """Return the dequantized form of constants."""
        stored = add_constant(self.model, grid.quantize(numbers, axis=axis), name=f"{name}_q")
        attributes = {} if axis is None or grid.scale.ndim == 0 else {"axis": axis}
        node = ir.node("DequantizeLinear", [stored, *self._parameters(grid, name=name)], attributes, name=name)
        node.outputs[0].name = name
        result = node.outputs[0]
        self.model.graph.append(node)
        return result


def _bits_of(value: ir.Value) -> int | None:
    """Return the bits of a dequantized value; None if it is none."""
    producer = value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    zero_point = producer.inputs[2]
    return None if zero_point is None or zero_point.dtype is None else 8 * int(zero_point.dtype.itemsize)


def _is_fused(value: ir.Value) -> bool:
    """Return whether an activation, which engines compute inside the operator before it, alone reads a value."""
    readers = value.uses()
    return len(readers) == 1 and next(iter(readers)).node.op_type in _FUSED and not value.is_graph_output()
