"""Replace a convolution and a split of its channels by two convolutions, one per part.

Every output channel depends only on its row of the kernel: act(W x + b)[rows] = act(W[rows] x + b[rows]). A split would
copy the map, and engines that store maps in blocks of channels would convert it first.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_ACTIVATIONS = ("Clip", "HardSigmoid", "HardSwish", "LeakyRelu", "Relu", "Sigmoid", "Tanh")
"""Elementwise operators: they work on every number of their first input separately."""


def _pattern(op: OpsetPatternBuilder, y: ir.Value) -> object:
    return op.Split(y, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["first", "second"])


def _check(context: MatchContext, y: ir.Value, first: ir.Value, second: ir.Value | None = None) -> MatchResult:
    del context
    split = cast("ir.Node", first.producer())
    if second is None or len(split.outputs) != 2:
        return MatchResult().fail(f"{y.name} is split into {len(split.outputs)} parts")
    if split.attributes.get_int("axis", 0) != 1:
        return MatchResult().fail(f"{y.name} is not split by channels")
    activation, conv = _producers(y)
    if conv is None:
        return MatchResult().fail(f"{y.name} does not come from a convolution")
    if conv.attributes.get_int("group", 1) != 1:
        return MatchResult().fail(f"{conv.name} has groups")
    replaced = [y] if activation is None else [y, conv.outputs[0]]
    if any(len(value.uses()) > 1 or value.is_graph_output() for value in replaced):
        return MatchResult().fail(f"{y.name} is also used outside the split")
    if any(ir.convenience.get_const_tensor(value) is None for value in conv.inputs[1:] if value is not None):
        return MatchResult().fail(f"{conv.name} has weights that are not constant")
    if any(part.shape is None or not isinstance(part.shape[1], int) for part in (first, second)):
        return MatchResult().fail(f"the sizes of the parts of {y.name} are unknown")
    return MatchResult()


def _rewrite(op: RewriterContext, *, y: ir.Value, first: ir.Value, second: ir.Value) -> list[ir.Value]:
    activation, conv = _producers(y)
    conv = cast("ir.Node", conv)
    outputs: list[ir.Value] = []
    start = 0
    for part in (first, second):
        stop = start + cast("int", cast("ir.Shape", part.shape)[1])
        # The kernel and, if there is one, the bias.
        constants = [value for value in conv.inputs[1:] if value is not None]
        weights = [_rows(op, value, start, stop, name=f"{part.name}.{value.name}") for value in constants]
        # Operators are attributes of `op` that it makes on access.
        out = op.Conv(conv.inputs[0], *weights, **conv.attributes)  # pyright: ignore[reportAttributeAccessIssue]
        if activation is not None:
            out = getattr(op, activation.op_type)(out, *activation.inputs[1:], **activation.attributes)
        outputs.append(out)
        start = stop
    return outputs


def _producers(y: ir.Value) -> tuple[ir.Node | None, ir.Node | None]:
    """Return the activation (None if there is none) and the convolution that compute a value."""
    node = y.producer()
    activation = None
    if node is not None and node.op_type in _ACTIVATIONS and node.inputs[0] is not None:
        activation, node = node, node.inputs[0].producer()
    return activation, node if node is not None and node.op_type == "Conv" else None


def _rows(op: RewriterContext, weight: ir.Value, start: int, stop: int, *, name: str) -> ir.Value:
    array = cast("ir.TensorProtocol", ir.convenience.get_const_tensor(weight)).numpy()[start:stop]
    return op.initializer(ir.tensor(np.ascontiguousarray(array)), name=name)


SPLIT_CONVOLUTION = RewriteRule(_pattern, _rewrite, _check, name="split_convolution")
"""Split(act(Conv(x, W, b)), axis=1) -> act(Conv(x, W[:n], b[:n])), act(Conv(x, W[n:], b[n:]))."""
