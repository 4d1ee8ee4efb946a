"""From a graph with QuantizeLinear and DequantizeLinear nodes back to a float graph and its numbers.

Writers of other formats start from a float graph, the ranges of its activations and the scales of its weights. For a
network that was trained with fake quantizers, these are the trained ones.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True, slots=True)
class StrippedGraph:
    """A float graph, and what its pairs of QuantizeLinear and DequantizeLinear said.

    Attributes:
        model: the float graph. Its weights are rounded ones.
        ranges: name of an activation -> its lowest and highest number.
        weight_scales: name of a weight -> its scale for every output channel.
        quantized: names of the nodes that compute with rounded weights.
    """

    model: ir.Model
    ranges: Mapping[str, tuple[float, float]]
    weight_scales: Mapping[str, tuple[float, ...]]
    quantized: tuple[str, ...]


def strip_pairs(model: ir.Model) -> StrippedGraph:
    """Return the float graph of a graph that `write_trained_graph` wrote, which is not changed."""
    copy = ir.from_proto(ir.to_proto(model))
    ranges: dict[str, tuple[float, float]] = {}
    weight_scales: dict[str, tuple[float, ...]] = {}
    for node in [*copy.graph]:
        if node.op_type != "DequantizeLinear":
            continue
        levels, scale, zero = cast("ir.Value", node.inputs[0]), _constant(node.inputs[1]), _constant(node.inputs[2])
        pair = levels.producer()
        if pair is None:
            replaced = _float_weight(node, levels, scale.astype(np.float32))
            copy.graph.register_initializer(replaced)
            weight_scales[cast("str", replaced.name)] = tuple(scale.tolist())
        else:
            replaced = cast("ir.Value", pair.inputs[0])
            lowest, highest = ((end - int(zero)) * float(scale) for end in (0, 255))
            ranges[cast("str", replaced.name)] = (lowest, highest)
        ir.convenience.replace_all_uses_with(node.outputs[0], replaced)
        copy.graph.remove(node, safe=True)
        if pair is not None and not pair.outputs[0].uses():
            copy.graph.remove(pair, safe=True)
    for name in [name for name, value in copy.graph.initializers.items() if not value.uses()]:
        copy.graph.initializers.pop(name)
    quantized: list[str] = []
    for place, node in enumerate(copy.graph):
        node.name = node.name or f"{node.op_type}_{place}"
        if any(value is not None and value.name in weight_scales for value in node.inputs):
            quantized.append(node.name)
    return StrippedGraph(model=copy, ranges=ranges, weight_scales=weight_scales, quantized=tuple(quantized))


def _float_weight(node: ir.Node, levels: ir.Value, scale: NDArray[np.float32]) -> ir.Value:
    """Return the rounded weight that a DequantizeLinear gives, as a constant."""
    whole = _constant(levels)
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 1
    along = [1] * whole.ndim
    along[axis] = -1
    weight = whole.astype(np.float32) * scale.astype(np.float32).reshape(along)
    name = f"{node.outputs[0].name}_weight"
    value = ir.Value(name=name, shape=ir.Shape(weight.shape), type=ir.TensorType(ir.DataType.FLOAT))
    value.const_value = ir.tensor(weight, name=name)
    return value


def _constant(value: ir.Value | None) -> NDArray[np.generic]:
    return cast("ir.TensorProtocol", cast("ir.Value", value).const_value).numpy()
