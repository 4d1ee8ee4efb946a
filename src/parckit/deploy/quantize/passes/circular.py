"""Append the beginning of a map to its end, so that a circular convolution multiplies no padding.

A circular convolution over n positions is exported with 2 n - 1 taps, each of its n taps nearly twice, over a map that
is padded with zeros (`parckit.deploy.convert.axis_forms`): in float32 this spares a change of the memory layout. In
int8 the layout is NHWC, in which appending costs next to nothing, and half of the multiplications fall away.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of

_FEWEST_POSITIONS = 10
"""With fewer positions, the two more operators take as long as the multiplications that fall away."""
_FIRST_SPATIAL = 2


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value) -> object:
    return op.Conv(x, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])


def _check(context: MatchContext, x: ir.Value, w: ir.Value, conv: ir.Value) -> MatchResult:
    del context
    weights, node = constant_of(w), cast("ir.Node", conv.producer())
    if weights is None or weights.ndim != 2 + _FIRST_SPATIAL or sorted(weights.shape[_FIRST_SPATIAL:])[0] != 1:
        return MatchResult().fail(f"{conv.name} is not a convolution along an axis with constant weights")
    axis, positions = _axis_of(weights), (max(weights.shape[_FIRST_SPATIAL:]) + 1) // 2
    if positions < _FEWEST_POSITIONS:
        return MatchResult().fail(f"{conv.name} has only {positions} positions")
    if x.shape is None or x.shape[axis] != positions:
        return MatchResult().fail(f"{x.name} does not have {positions} positions")
    pads = [0, 0, 0, 0]
    pads[axis - _FIRST_SPATIAL] = pads[axis] = positions - 1
    if list(node.attributes.get_ints("pads", ())) != pads or set(node.attributes.get_ints("strides", (1,))) != {1}:
        return MatchResult().fail(f"{conv.name} has other paddings or strides")
    first, second = (weights.take(range(start, start + positions - 1), axis) for start in (0, positions))
    if not np.array_equal(first, second):
        return MatchResult().fail(f"{conv.name} does not hold its taps twice")
    return MatchResult()


def _axis_of(weights: np.ndarray) -> int:
    return _FIRST_SPATIAL + int(np.argmax(weights.shape[_FIRST_SPATIAL:]))


def _rewrite(op: RewriterContext, *, x: ir.Value, w: ir.Value, conv: ir.Value) -> ir.Value:
    node, weights = cast("ir.Node", conv.producer()), cast("np.ndarray", constant_of(w))
    axis = _axis_of(weights)
    positions = (weights.shape[axis] + 1) // 2
    taps = np.ascontiguousarray(weights.take(range(positions - 1, 2 * positions - 1), axis))
    ends = [
        op.initializer(ir.tensor([number]), name=f"{conv.name}.{name}")
        for name, number in (("start", 0), ("end", positions - 1), ("axis", axis))
    ]
    weight = op.initializer(ir.tensor(taps), name=f"{conv.name}.weight")
    attributes = {name: value for name, value in node.attributes.items() if name not in ("pads", "kernel_shape")}
    # Operators are attributes of `op` that it makes on access.
    longer = op.Concat(x, op.Slice(x, *ends), axis=axis)  # pyright: ignore[reportAttributeAccessIssue]
    return op.Conv(longer, weight, *node.inputs[2:], **attributes)  # pyright: ignore[reportAttributeAccessIssue]


CIRCULAR_WITHOUT_PADDING = RewriteRule(_pattern, _rewrite, _check, name="circular_without_padding")
"""Conv(x, taps twice, pads=n - 1) -> Conv(Concat(x, x[: n - 1]), taps)."""
