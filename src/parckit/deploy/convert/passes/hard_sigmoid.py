"""Leave away the attribute `beta` of HardSigmoid where it has its default.

The exporter writes beta = 0.5, which is the default. OpenCV 4.14 and 5.0 then give another shape to the product that
follows, and wrong numbers without an error. They compute right where the attribute is left away.
"""

from typing import cast

import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_ALPHA, _BETA = 0.2, 0.5
"""The defaults of ONNX."""


def _pattern(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.HardSigmoid(x, _allow_other_attributes=True, _outputs=["y"])


def _check(context: MatchContext, x: ir.Value, y: ir.Value) -> MatchResult:
    del context, x
    beta = cast("ir.Node", y.producer()).attributes.get_float("beta", None)
    if beta is None:
        return MatchResult().fail(f"{y.name} has no beta")
    if beta != _BETA:
        return MatchResult().fail(f"{y.name} has another beta than the default")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, y: ir.Value) -> ir.Value:
    alpha = cast("ir.Node", y.producer()).attributes.get_float("alpha", _ALPHA)
    return op.HardSigmoid(x, alpha=alpha)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


HARD_SIGMOID_DEFAULT = RewriteRule(_pattern, _rewrite, _check, name="hard_sigmoid_default")
"""HardSigmoid(x, alpha, beta=0.5) -> HardSigmoid(x, alpha)."""
