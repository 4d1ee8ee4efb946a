"""Rules: which nodes of a graph are quantized, and which stay in float32, before anything is measured."""

from collections.abc import Iterator, Mapping

import onnx_ir as ir

from parckit.deploy.quantize.constants import constant_of
from parckit.deploy.quantize.qdq import WEIGHT_AXES, is_activation
from parckit.deploy.quantize.scheme import Bits

_LARGE = 1024
"""A constant of fewer numbers is stored in float32 where its node stays in float32."""
_POOLS = ("GlobalAveragePool", "ReduceMean")
_GATE = "gate of a squeeze-excite block: its numbers scale whole channels, and it takes nearly no time"


def usual_bits(model: ir.Model) -> tuple[dict[str, Bits], dict[str, str]]:
    """Return the bits of every node that is quantized, and why others with weights are not.

    Operators with weights are quantized. All others stay in float32, such as norms, softmax and sums along a residual
    path. `nodes_behind_quantized` adds those that engines compute faster in int8.

    Args:
        model: the float graph with shapes; all nodes have names.
    """
    gates = set(_gates(model))
    bits: dict[str, Bits] = {}
    reasons: dict[str, str] = {}
    for node in model.graph:
        name = node.name or ""
        if node.op_type not in WEIGHT_AXES or not any(map(is_activation, node.inputs)):
            continue
        if name in gates:
            reasons[name] = _GATE
        else:
            bits[name] = 8
    return bits, reasons


def stored_constants(model: ir.Model, bits: Mapping[str, Bits]) -> tuple[str, ...]:
    """Return the large constants that only nodes without bits read, such as the weights of gates."""
    return tuple(
        value.name or ""
        for value in model.graph.initializers.values()
        if (numbers := constant_of(value)) is not None
        and numbers.size >= _LARGE
        and numbers.ndim > 1
        and not any(bits.get(node.name or "") for node, _ in value.uses())
    )


def _gates(model: ir.Model) -> Iterator[str]:
    """Yield the nodes between a pooling to one pixel and the multiplication of a larger map."""
    for pool in model.graph:
        if pool.op_type in _POOLS and _is_one_pixel(pool.outputs[0]):
            path, ends_in_gate = _follow(pool)
            if ends_in_gate:
                yield from path


def _follow(pool: ir.Node) -> tuple[list[str], bool]:
    """Return the nodes after a pooling that compute with one pixel, and whether they end in a multiplication."""
    path: list[str] = []
    ends_in_gate = False
    waiting = [pool.outputs[0]]
    while waiting:
        for node, _ in waiting.pop().uses():
            if node.name in path:
                continue
            if _is_one_pixel(node.outputs[0]):
                path.append(node.name or "")
                waiting.append(node.outputs[0])
            elif node.op_type == "Mul":
                ends_in_gate = True
    return path, ends_in_gate


def _is_one_pixel(value: ir.Value) -> bool:
    """Return whether a value is a map of one pixel, (B, C, 1, 1) or (B, 1, 1, C)."""
    sizes = [] if value.shape is None else list(value.shape)
    return len(sizes) == 4 and (sizes[2:] == [1, 1] or sizes[1:3] == [1, 1])
