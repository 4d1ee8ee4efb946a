"""Quantize the constants of sums and products between quantized tensors.

Position embeddings are added, and so is the 3 of HardSwish. ONNX Runtime computes such an operator in int8 only if the
constant is quantized, too; otherwise it turns the map into float32 and back.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.passes.constants import constant_of

_STEPS = 255


def _sum(op: OpsetPatternBuilder, x: ir.Value, c: ir.Value) -> object:
    return op.QuantizeLinear(op.Add(x, c, _outputs=["y"]), _allow_other_inputs=True, _outputs=["result"])


def _product(op: OpsetPatternBuilder, x: ir.Value, c: ir.Value) -> object:
    return op.QuantizeLinear(op.Mul(x, c, _outputs=["y"]), _allow_other_inputs=True, _outputs=["result"])


def _check(context: MatchContext, x: ir.Value, c: ir.Value, result: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    producer = x.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return MatchResult().fail(f"{x.name} is not quantized")
    if constant_of(c) is None:
        return MatchResult().fail(f"{c.name} is not constant")
    zero = cast("ir.Node", result.producer()).inputs[2]
    if zero is None or zero.dtype != ir.DataType.UINT8:
        return MatchResult().fail(f"{result.name} does not have 8 bits")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, c: ir.Value, y: ir.Value, result: ir.Value) -> ir.Value:
    numbers = cast("np.ndarray", constant_of(c))
    lowest, highest = min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
    scale = np.float32(max(highest - lowest, float(np.finfo(np.float32).tiny)) / _STEPS)
    zero = np.uint8(round(-lowest / float(scale)))
    steps = np.clip(np.round(numbers.astype(np.float64) / scale) + zero, 0, _STEPS).astype(np.uint8)
    constants = {"quantized": steps, "scale": np.array(scale), "zero_point": np.array(zero)}
    values = [op.initializer(ir.tensor(array), name=f"{y.name}.{c.name}.{name}") for name, array in constants.items()]
    # Operators are attributes of `op` that it makes on access.
    constant = op.DequantizeLinear(*values)  # pyright: ignore[reportAttributeAccessIssue]
    again = getattr(op, cast("ir.Node", y.producer()).op_type)(x, constant)
    return op.QuantizeLinear(again, *cast("ir.Node", result.producer()).inputs[1:])  # pyright: ignore[reportAttributeAccessIssue]


CONSTANT_SUMMAND = RewriteRule(_sum, _rewrite, _check, name="constant_summand")
"""Add(DequantizeLinear(q), c) -> Add(DequantizeLinear(q), DequantizeLinear(c in 8 bits))."""
CONSTANT_FACTOR = RewriteRule(_product, _rewrite, _check, name="constant_factor")
"""Mul(DequantizeLinear(q), c) -> Mul(DequantizeLinear(q), DequantizeLinear(c in 8 bits))."""
