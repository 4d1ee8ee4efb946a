"""Which operators without weights are computed in int8, too, so that an x86 processor gains from it.

A convolution in int8 takes half the time. But if the operator behind it stays in float32, its map is turned into
numbers of 4 bytes, written, read and rounded again, and this costs more than the convolution has gained. So an operator
that stands behind a quantized one is quantized, if ONNX Runtime has it for int8.

GELU stays in float32, because ONNX Runtime has no table for it. The same holds for LayerNorm.
"""

from collections.abc import Mapping

import onnx_ir as ir

_KINDS = (
    "Add",
    "AveragePool",
    "Clip",
    "Concat",
    "Flatten",
    "GlobalAveragePool",
    "LeakyRelu",
    "MaxPool",
    "Mul",
    "Relu",
    "Reshape",
    "Sigmoid",
    "Slice",
)
"""Operators that ONNX Runtime runs in int8 between two quantized tensors."""


def nodes_behind_quantized(model: ir.Model, quantized: Mapping[str, object]) -> tuple[str, ...]:
    """Return the names of the nodes without weights to quantize, in the graph's order.

    Args:
        model: the float graph, prepared by `prepare_for_int8`. All nodes have names.
        quantized: names of the nodes with weights that are quantized; names with the value None are not.
    """
    taken = {name for name, bits in quantized.items() if bits is not None}
    names: list[str] = []
    for node in model.graph:
        if node.op_type not in _KINDS:
            continue
        makers = [value.producer() for value in node.inputs if value is not None]
        if any(maker is not None and maker.name in taken for maker in makers):
            taken.add(node.name or "")
            names.append(node.name or "")
    return tuple(names)
