"""Which operators without weights are computed in int8, too, so that an x86 processor gains from it.

A convolution in int8 takes half the time. But if the operator behind it stays in float32, its map is turned into
numbers of 4 bytes, written, read and rounded again, and this costs more than the convolution has gained. So an operator
that stands behind a quantized one is quantized, if ONNX Runtime has it for int8.

GELU stays in float32: ONNX Runtime runs its operators as one, and has no table for int8. The same holds for LayerNorm.
"""

from collections.abc import Iterator, Mapping

import onnx_ir as ir

_SUMS = ("Add",)
_OTHERS = (
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


def nodes_behind_quantized(model: ir.Model, quantized: Mapping[str, object], *, sums: bool = True) -> tuple[str, ...]:
    """Return the names of the nodes without weights to quantize, in the graph's order.

    Args:
        model: the float graph, prepared by `prepare_for_int8`. All nodes have names.
        quantized: names of the nodes with weights that are quantized; names with the value None are not.
        sums: whether sums are quantized, too, such as those along a residual path. Otherwise they are exact, but every
            block turns its map into float32 and back.
    """
    taken = {name for name, bits in quantized.items() if bits is not None}
    kinds = (*_SUMS, *_OTHERS) if sums else _OTHERS
    inside_gelu = {node.name for node in _gelu_nodes(model)}
    names: list[str] = []
    for node in model.graph:
        if node.op_type not in kinds or node.name in inside_gelu:
            continue
        makers = [value.producer() for value in node.inputs if value is not None]
        if any(maker is not None and maker.name in taken for maker in makers):
            taken.add(node.name or "")
            names.append(node.name or "")
    return tuple(names)


def _gelu_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Yield the nodes of every GELU: from the division before Erf up to the product that is its result."""
    for erf in model.graph:
        if erf.op_type != "Erf":
            continue
        scaled = erf.inputs[0].producer() if erf.inputs[0] is not None else None
        x = scaled.inputs[0] if scaled is not None else None
        waiting = [node for node in (scaled, erf) if node is not None]
        # The last product multiplies by x, or by x times one half.
        waiting += [node for node, _ in x.uses() if node.op_type == "Mul"] if x is not None else []
        yield from waiting
        for node, _ in erf.outputs[0].uses():
            yield node
            yield from (product for product, _ in node.outputs[0].uses() if product.op_type == "Mul")
