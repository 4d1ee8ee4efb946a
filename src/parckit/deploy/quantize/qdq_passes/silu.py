"""Let SiLU read the convolution before it without a quantization in between, for OpenVINO.

OpenVINO computes SiLU inside an int8 convolution, in float32, before the result is rounded. With a quantization in
between, it runs SiLU as an operator of its own, which takes longer than the convolution. ONNX Runtime is the opposite:
it has tables for Sigmoid, and needs the quantization.
"""

import onnx_ir as ir
from onnxscript.rewriter import RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder


def _pattern(op: OpsetPatternBuilder, conv: ir.Value) -> object:
    x = op.DequantizeLinear(op.QuantizeLinear(conv, _allow_other_inputs=True), _allow_other_inputs=True)
    gate = op.QuantizeLinear(op.Sigmoid(x), _allow_other_inputs=True)
    return op.Mul(x, op.DequantizeLinear(gate, _allow_other_inputs=True))


def _rewrite(op: RewriterContext, *, conv: ir.Value) -> ir.Value:
    # Operators are attributes of `op` that it makes on access.
    return op.Mul(conv, op.Sigmoid(conv))  # pyright: ignore[reportAttributeAccessIssue]


SILU_IN_FLOAT = RewriteRule(_pattern, _rewrite, name="silu_in_float")
"""Mul(DQ(Q(x)), DQ(Q(Sigmoid(DQ(Q(x)))))) -> Mul(x, Sigmoid(x))."""
