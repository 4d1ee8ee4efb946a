"""Compute HardSwish with operators that ONNX Runtime has for int8.

HardSwish(x) = x clip(x + 3, 0, 6) / 6. The convolution that reads it takes the division into its weights. The clip
costs nothing: the sum is quantized with the range 0 to 6, which cuts off all else. ONNX Runtime has no HardSwish for
int8, so it would turn the map into float32 and back.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value) -> object:
    swish = op.HardSwish(x, _outputs=["swish"])
    return op.Conv(swish, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])


def _check(context: MatchContext, x: ir.Value, w: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    if constant_of(w) is None:
        return MatchResult().fail(f"the weights {w.name} are not constant")
    if x.shape is None:
        return MatchResult().fail(f"the number of dimensions of {x.name} is unknown")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, w: ir.Value, swish: ir.Value, conv: ir.Value) -> ir.Value:
    node = cast("ir.Node", conv.producer())
    constants = {
        # OpenVINO takes a constant of the same number of dimensions into the operator.
        "three": np.full([1] * len(cast("ir.Shape", x.shape)), 3, np.float32),
        "zero": np.array(0, np.float32),
        "six": np.array(6, np.float32),
        "weight": cast("np.ndarray", constant_of(w)) / np.float32(6),
    }
    three, zero, six, weight = (
        op.initializer(ir.tensor(array), name=f"{swish.name}.{name}") for name, array in constants.items()
    )
    # Operators are attributes of `op` that it makes on access.
    gate = op.Clip(op.Add(x, three), zero, six)  # pyright: ignore[reportAttributeAccessIssue]
    six_times = op.Mul(x, gate)  # pyright: ignore[reportAttributeAccessIssue]
    return op.Conv(six_times, weight, *node.inputs[2:], **node.attributes)  # pyright: ignore[reportAttributeAccessIssue]


HARD_SWISH_AS_PRODUCT = RewriteRule(_pattern, _rewrite, _check, name="hard_swish_as_product")
"""Conv(HardSwish(x), W, b) -> Conv(x * Clip(x + 3, 0, 6), W / 6, b)."""
