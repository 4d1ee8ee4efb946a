"""Write GELU as one operator.

The float file writes GELU(x) = x / 2 * (1 + erf(x / sqrt 2)) as five operators, which ONNX Runtime computes as one. But
it reads a quantized x separately for each of the operators, and then does not recognise them: GELU takes twice the
time. OpenVINO takes both forms. The operator Gelu is new in opset 20.
"""

import math

import onnx_ir as ir
from onnxscript.rewriter import RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

LEAST_OPSET = 20
"""Lowest opset with the operator Gelu."""


def _pattern(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.Mul(op.Mul(x, 0.5), op.Add(op.Erf(op.Div(x, math.sqrt(2))), 1.0))


def _pattern_of_old_exporter(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.Mul(op.Mul(x, op.Add(op.Erf(op.Div(x, math.sqrt(2))), 1.0)), 0.5)


def _rewrite(op: RewriterContext, *, x: ir.Value) -> ir.Value:
    return op.Gelu(x)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


GELU_OF_OLD_EXPORTER = RewriteRule(_pattern_of_old_exporter, _rewrite, name="gelu_of_old_exporter")
"""(x * (1 + erf(x / sqrt 2))) * 0.5 -> Gelu(x), as torch's exporter for opsets below 18 writes it."""
GELU_AS_OPERATOR = RewriteRule(_pattern, _rewrite, name="gelu_as_operator")
"""(x * 0.5) * (1 + erf(x / sqrt 2)) -> Gelu(x)."""
