"""Give layer norms without a bias a bias of zeros.

ONNX allows a LayerNormalization with a weight and no bias. The converter to ncnn has no layer for it: "layer
F.layer_norm not exists". Adding zero is exact.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_INPUTS = 3


def _pattern(op: OpsetPatternBuilder, x: ir.Value, weight: ir.Value) -> object:
    return op.LayerNormalization(x, weight, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["y"])


def _check(context: MatchContext, x: ir.Value, weight: ir.Value, y: ir.Value) -> MatchResult:
    del context, x
    inputs = cast("ir.Node", y.producer()).inputs
    if len(inputs) == _INPUTS and inputs[-1] is not None:
        return MatchResult().fail(f"{y.name} has a bias")
    if ir.convenience.get_const_tensor(weight) is None:
        return MatchResult().fail(f"the weight of {y.name} is not constant")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, weight: ir.Value, y: ir.Value) -> ir.Value:
    array = cast("ir.TensorProtocol", ir.convenience.get_const_tensor(weight)).numpy()
    bias = op.initializer(ir.tensor(np.zeros_like(array)), name=f"{y.name}.bias")
    attributes = cast("ir.Node", y.producer()).attributes
    return op.LayerNormalization(x, weight, bias, **attributes)  # pyright: ignore[reportAttributeAccessIssue]


LAYER_NORM_BIAS = RewriteRule(_pattern, _rewrite, _check, name="layer_norm_bias")
"""LayerNormalization(x, weight) -> LayerNormalization(x, weight, 0)."""
