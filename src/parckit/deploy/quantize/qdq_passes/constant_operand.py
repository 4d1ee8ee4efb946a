"""Quantize the constants of sums and products between quantized tensors.

Position embeddings are added, and so is the 3 of HardSwish. ONNX Runtime computes such an operator in int8 only if the
constant is quantized, too; otherwise it turns the map into float32 and back.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of

_STEPS = 255
_FUSED = ("Clip", "Relu")
"""Activations that engines compute inside the operator before them."""


def _sum(op: OpsetPatternBuilder, x: ir.Value, c: ir.Value) -> object:
    return op.Add(x, c, _outputs=["y"])


def _product(op: OpsetPatternBuilder, x: ir.Value, c: ir.Value) -> object:
    return op.Mul(x, c, _outputs=["y"])


def _check(context: MatchContext, x: ir.Value, c: ir.Value, y: ir.Value) -> MatchResult:
    del context
    producer = x.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return MatchResult().fail(f"{x.name} is not quantized")
    if constant_of(c) is None:
        return MatchResult().fail(f"{c.name} is not constant")
    if not _becomes_8_bits(y):
        return MatchResult().fail(f"{y.name} is not quantized to 8 bits")
    return MatchResult()


def _becomes_8_bits(value: ir.Value) -> bool:
    """Return whether the only reader of a value quantizes it, or it passes one of the activations that are fused."""
    readers = value.consumers()
    if len(readers) != 1:
        return False
    if readers[0].op_type in _FUSED:
        return _becomes_8_bits(readers[0].outputs[0])
    zero = readers[0].inputs[2] if readers[0].op_type == "QuantizeLinear" else None
    return zero is not None and zero.dtype == ir.DataType.UINT8


def _rewrite(op: RewriterContext, *, x: ir.Value, c: ir.Value, y: ir.Value) -> ir.Value:
    numbers = cast("np.ndarray", constant_of(c))
    lowest, highest = min(0.0, float(numbers.min())), max(0.0, float(numbers.max()))
    scale = np.float32(max(highest - lowest, float(np.finfo(np.float32).tiny)) / _STEPS)
    zero = np.uint8(round(-lowest / float(scale)))
    steps = np.clip(np.round(numbers.astype(np.float64) / scale) + zero, 0, _STEPS).astype(np.uint8)
    constants = {"quantized": steps, "scale": np.array(scale), "zero_point": np.array(zero)}
    values = [op.initializer(ir.tensor(array), name=f"{y.name}.{c.name}.{name}") for name, array in constants.items()]
    # Operators are attributes of `op` that it makes on access.
    constant = op.DequantizeLinear(*values)  # pyright: ignore[reportAttributeAccessIssue]
    return getattr(op, cast("ir.Node", y.producer()).op_type)(x, constant)


CONSTANT_SUMMAND = RewriteRule(_sum, _rewrite, _check, name="constant_summand")
"""Add(DequantizeLinear(q), c) -> Add(DequantizeLinear(q), DequantizeLinear(c in 8 bits))."""
CONSTANT_FACTOR = RewriteRule(_product, _rewrite, _check, name="constant_factor")
"""Mul(DequantizeLinear(q), c) -> Mul(DequantizeLinear(q), DequantizeLinear(c in 8 bits))."""
