"""Narrow the ranges of tensors where the activation function that reads them is flat.

The sigmoid linear unit of -40 is zero, as that of -8 is nearly. A range from -40 on would spend most of its steps on
numbers that all become zero.
"""

from collections.abc import Mapping
from math import inf

import onnx_ir as ir

Range = tuple[float, float]

FLAT_BEYOND: Mapping[str, Range] = {
    "Relu": (0.0, inf),
    "HardSwish": (-3.0, inf),
    "HardSigmoid": (-3.0, 3.0),
    "Sigmoid": (-8.0, 8.0),
    "Gelu": (-4.0, inf),
}
"""Activation function -> the range outside of which it is flat, or differs from its end by less than 3e-3."""
_SILU = (-8.0, inf)
"""The same for x * sigmoid(x), which is two nodes: 8 * sigmoid(-8) is 2.7e-3."""


def narrow_ranges(model: ir.Model, ranges: Mapping[str, Range]) -> dict[str, Range]:
    """Return ranges without the parts that the only readers of a tensor do not tell apart."""
    narrowed = dict(ranges)
    for node in model.graph:
        for value in node.outputs:
            name = value.name or ""
            needed = _needed(value)
            if name in ranges and needed is not None:
                lowest, highest = ranges[name]
                narrowed[name] = (max(lowest, needed[0]), min(highest, needed[1]))
    return narrowed


def _needed(value: ir.Value) -> Range | None:
    """Return the range that the readers of a value tell apart; None if it is unlimited, or unknown."""
    readers = [node for node, _ in value.uses()]
    if value.is_graph_output() or not readers:
        return None
    kinds = sorted(node.op_type for node in readers)
    if kinds == ["Mul", "Sigmoid"]:
        sigmoid, product = sorted(readers, key=lambda node: node.op_type, reverse=True)
        return _SILU if sigmoid.outputs[0] in product.inputs else None
    if kinds == ["Add", "Mul"]:
        total, product = sorted(readers, key=lambda node: node.op_type)
        return FLAT_BEYOND["HardSwish"] if _is_hard_swish(total, product) else None
    if any(kind not in FLAT_BEYOND for kind in kinds):
        return None
    limits = [FLAT_BEYOND[kind] for kind in kinds]
    return min(low for low, _ in limits), max(high for _, high in limits)


def _is_hard_swish(total: ir.Node, product: ir.Node) -> bool:
    """Return whether a sum and a product of x are those of x * Clip(x + 3, 0, 6), as `HARD_SWISH_AS_PRODUCT` writes."""
    gates = [node for node, _ in total.outputs[0].uses()]
    return len(gates) == 1 and gates[0].op_type == "Clip" and gates[0].outputs[0] in product.inputs
