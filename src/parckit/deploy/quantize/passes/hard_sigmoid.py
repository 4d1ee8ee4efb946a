"""Compute HardSigmoid inside the convolution before it.

HardSigmoid(x) = clip(alpha x + beta, 0, 1). Weights and bias of the convolution take alpha and beta, and engines
compute the clip inside the convolution. ONNX Runtime has no HardSigmoid for int8, so it would turn the gates of
squeeze-and-excitation into float32 and back.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of

_ALPHA, _BETA = 0.2, 0.5
"""The defaults of ONNX."""


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value) -> object:
    conv = op.Conv(x, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])
    return op.HardSigmoid(conv, _allow_other_attributes=True, _outputs=["gate"])


def _check(context: MatchContext, conv: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    if any(value is not None and constant_of(value) is None for value in cast("ir.Node", conv.producer()).inputs[1:]):
        return MatchResult().fail(f"the weights behind {conv.name} are not constant")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, w: ir.Value, conv: ir.Value, gate: ir.Value) -> ir.Value:
    node, attributes = cast("ir.Node", conv.producer()), cast("ir.Node", gate.producer()).attributes
    alpha, beta = np.float32(attributes.get_float("alpha", _ALPHA)), np.float32(attributes.get_float("beta", _BETA))
    weights = cast("np.ndarray", constant_of(w))
    bias = constant_of(node.inputs[2]) if len(node.inputs) > 2 else None
    bias = np.zeros(len(weights), np.float32) if bias is None else bias
    constants = {
        "weight": weights * alpha,
        "bias": bias * alpha + beta,
        "zero": np.array(0, np.float32),
        "one": np.array(1, np.float32),
    }
    values = [op.initializer(ir.tensor(array), name=f"{gate.name}.{name}") for name, array in constants.items()]
    # Operators are attributes of `op` that it makes on access.
    scaled = op.Conv(x, *values[:2], **node.attributes)  # pyright: ignore[reportAttributeAccessIssue]
    return op.Clip(scaled, *values[2:])  # pyright: ignore[reportAttributeAccessIssue]


HARD_SIGMOID_IN_CONVOLUTION = RewriteRule(_pattern, _rewrite, _check, name="hard_sigmoid_in_convolution")
"""HardSigmoid(Conv(x, W, b)) -> Clip(Conv(x, alpha W, alpha b + beta), 0, 1)."""
