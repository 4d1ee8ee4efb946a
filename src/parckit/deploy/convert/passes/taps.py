"""Leave out the taps of a convolution that see nothing but padding.

A tap of a dilated kernel can lie so far from the middle that it is outside of the map at every position, and multiplies
zeros. On a map of 16 x 16, only the middle tap of a 3 x 3 kernel with a dilation of 18 sees the map: the convolution is
a pointwise one with a ninth of the weights. Boards also limit dilations and paddings. OpenCV 5.0.0 gives wrong numbers
for a depthwise 3 x 3 convolution of a map of one or two pixels.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_FIRST_SPATIAL = 2
_CHANGED = ("auto_pad", "dilations", "kernel_shape", "pads")


def _pattern(op: OpsetPatternBuilder, x: ir.Value, w: ir.Value) -> object:
    return op.Conv(x, w, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["conv"])


def _check(context: MatchContext, x: ir.Value, w: ir.Value, conv: ir.Value) -> MatchResult:
    del context
    node, weights = cast("ir.Node", conv.producer()), ir.convenience.get_const_tensor(w)
    if weights is None:
        return MatchResult().fail(f"the weights {w.name} are not constant")
    if node.attributes.get_string("auto_pad", "NOTSET") != "NOTSET":
        return MatchResult().fail(f"{conv.name} does not say its paddings in numbers")
    sizes = [] if x.shape is None else x.shape[_FIRST_SPATIAL:]
    if not sizes or not all(isinstance(size, int) for size in sizes):
        return MatchResult().fail(f"the size of {x.name} is unknown")
    kept = _kept(x, w, node)
    if all(first == 0 and last == side - 1 for (first, last), side in zip(kept, _kernel(w), strict=True)):
        return MatchResult().fail(f"all taps of {conv.name} see the map")
    if min(_pads(node, kept, _kernel(w))) < 0:
        return MatchResult().fail(f"{conv.name} would begin inside the map")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, w: ir.Value, conv: ir.Value) -> ir.Value:
    node, weights = cast("ir.Node", conv.producer()), cast("ir.TensorProtocol", ir.convenience.get_const_tensor(w))
    kept = _kept(x, w, node)
    inside = (slice(None), slice(None), *(slice(first, last + 1) for first, last in kept))
    taps = np.ascontiguousarray(weights.numpy()[inside])
    kernel = taps.shape[_FIRST_SPATIAL:]
    # An axis with one tap has no dilation.
    dilations = [step if side > 1 else 1 for step, side in zip(_steps(node, "dilations", kept), kernel, strict=True)]
    attributes = {name: value for name, value in node.attributes.items() if name not in _CHANGED}
    weight = op.initializer(ir.tensor(taps), name=f"{conv.name}.taps")
    # Operators are attributes of `op` that it makes on access.
    return op.Conv(  # pyright: ignore[reportAttributeAccessIssue]
        x,
        weight,
        *node.inputs[2:],
        **attributes,
        dilations=dilations,
        kernel_shape=list(kernel),
        pads=_pads(node, kept, _kernel(w)),
    )


def _kernel(w: ir.Value) -> list[int]:
    return list(cast("ir.TensorProtocol", ir.convenience.get_const_tensor(w)).numpy().shape[_FIRST_SPATIAL:])


def _steps(node: ir.Node, name: str, axes: list[tuple[int, int]]) -> list[int]:
    """Return strides or dilations."""
    return list(node.attributes.get_ints(name, ()) or [1] * len(axes))


def _kept(x: ir.Value, w: ir.Value, node: ir.Node) -> list[tuple[int, int]]:
    """Return the first and the last tap along every axis that see the map; all taps if none does."""
    kernel = _kernel(w)
    whole = [(0, side - 1) for side in kernel]
    pads = node.attributes.get_ints("pads", ()) or [0] * (2 * len(kernel))
    kept: list[tuple[int, int]] = []
    for axis, side in enumerate(kernel):
        size = cast("int", cast("ir.Shape", x.shape)[_FIRST_SPATIAL + axis])
        before, after = pads[axis], pads[len(kernel) + axis]
        dilation, stride = (_steps(node, name, whole)[axis] for name in ("dilations", "strides"))
        count = (size + before + after - dilation * (side - 1) - 1) // stride + 1
        seen = [
            tap
            for tap in range(side)
            if any(0 <= tap * dilation - before + stride * place < size for place in range(count))
        ]
        kept.append((seen[0], seen[-1]) if seen else whole[axis])
    return kept


def _pads(node: ir.Node, kept: list[tuple[int, int]], kernel: list[int]) -> list[int]:
    """Return the paddings without the taps that are left out."""
    pads = list(node.attributes.get_ints("pads", ()) or [0] * (2 * len(kernel)))
    for axis, ((first, last), dilation) in enumerate(zip(kept, _steps(node, "dilations", kept), strict=True)):
        pads[axis] -= first * dilation
        pads[len(kernel) + axis] -= (kernel[axis] - 1 - last) * dilation
    return pads


TAPS_IN_PADDING = RewriteRule(_pattern, _rewrite, _check, name="taps_in_padding")
"""Conv(x, W, pads, dilations) -> Conv(x, W without the taps that see only zeros, smaller pads)."""
