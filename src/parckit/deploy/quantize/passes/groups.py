"""Write a convolution of few channels a group as one without groups.

In int8, ONNX Runtime and OpenVINO run one small matrix product for every group. For groups of 2 to 4 channels this
takes longer than one product with all channels, in which the weights between groups are zeros. Depthwise convolutions
have operators of their own, and stay.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of

_MOST_CHANNELS = 4
"""Most input channels of a group."""
_MOST_WEIGHTS = 2**18
"""Most weights without groups. They take as many bytes in int8."""


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value) -> object:
    return op.Conv(x, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])


def _check(context: MatchContext, w: ir.Value, conv: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    groups, weights = cast("ir.Node", conv.producer()).attributes.get_int("group", 1), constant_of(w)
    if groups == 1:
        return MatchResult().fail(f"{conv.name} has no groups")
    if weights is None:
        return MatchResult().fail(f"the weights {w.name} are not constant")
    if not 1 < weights.shape[1] <= _MOST_CHANNELS:
        return MatchResult().fail(f"{conv.name} has {weights.shape[1]} channels a group")
    if weights.size * groups > _MOST_WEIGHTS:
        return MatchResult().fail(f"{conv.name} would have {weights.size * groups} weights")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, w: ir.Value, conv: ir.Value) -> ir.Value:
    node, weights = cast("ir.Node", conv.producer()), cast("np.ndarray", constant_of(w))
    groups = node.attributes.get_int("group", 1)
    rows, chans = len(weights) // groups, weights.shape[1]
    whole = np.zeros((len(weights), chans * groups, *weights.shape[2:]), np.float32)
    for group in range(groups):
        own_rows, own_chans = (slice(group * count, (group + 1) * count) for count in (rows, chans))
        whole[own_rows, own_chans] = weights[own_rows]
    attributes = {name: value for name, value in node.attributes.items() if name != "group"}
    weight = op.initializer(ir.tensor(whole), name=f"{conv.name}.weight")
    # Operators are attributes of `op` that it makes on access.
    return op.Conv(x, weight, *node.inputs[2:], **attributes)  # pyright: ignore[reportAttributeAccessIssue]


SMALL_GROUPS = RewriteRule(_pattern, _rewrite, _check, name="small_groups")
"""Conv(x, W, b, group=g) -> Conv(x, W with zeros between groups, b)."""
