"""Let a convolution take the factors of its output channels into its weights.

The layer scale of ConvNeXt multiplies every channel of a convolution by a number. ONNX Runtime takes it into the
weights of a float convolution, but not into those of an int8 one.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value, factors: ir.Value) -> object:
    conv = op.Conv(x, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])
    return op.Mul(conv, factors, _outputs=["y"])


def _check(context: MatchContext, conv: ir.Value, factors: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    node, numbers = cast("ir.Node", conv.producer()), constant_of(factors)
    if any(value is not None and constant_of(value) is None for value in node.inputs[1:]):
        return MatchResult().fail(f"the weights behind {conv.name} are not constant")
    if numbers is None:
        return MatchResult().fail(f"{factors.name} is not constant")
    dims = len(cast("np.ndarray", constant_of(node.inputs[1])).shape)
    # A factor for every channel has the shape (C, 1, 1) or (1, C, 1, 1).
    shape = (1,) * (dims - numbers.ndim) + numbers.shape
    if len(shape) != dims or shape[0] != 1 or any(size != 1 for size in shape[2:]):
        return MatchResult().fail(f"{factors.name} has no factor for every channel")
    return MatchResult()


def _rewrite(
    op: RewriterContext, *, x: ir.Value, conv: ir.Value, factors: ir.Value, y: ir.Value, **_: ir.Value
) -> ir.Value:
    node, numbers = cast("ir.Node", conv.producer()), cast("np.ndarray", constant_of(factors)).reshape(-1)
    values: list[ir.Value] = []
    for name, value in zip(("weight", "bias"), node.inputs[1:], strict=False):
        array = cast("np.ndarray", constant_of(value))
        scaled = array * numbers.reshape(-1, *[1] * (array.ndim - 1))
        values.append(op.initializer(ir.tensor(scaled), name=f"{y.name}.{name}"))
    return op.Conv(x, *values, **node.attributes)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


SCALE_IN_CONVOLUTION = RewriteRule(_pattern, _rewrite, _check, name="scale_in_convolution")
"""Mul(Conv(x, W, b), c) -> Conv(x, c W, c b)."""
