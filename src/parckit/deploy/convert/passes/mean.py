"""Replace the mean over a whole map by global average pooling.

Both are the sum over height and width, divided by the number of positions. Engines that store maps in blocks of
channels have a pooling for this layout, but convert the map for a mean. Many converters for boards know only pooling.
"""

from typing import cast

import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_MAP_DIMS = 4


def _pattern(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.ReduceMean(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["mean"])


def _check(context: MatchContext, x: ir.Value, mean: ir.Value) -> MatchResult:
    del context
    result = MatchResult()
    if x.shape is None or len(x.shape) != _MAP_DIMS:
        return result.fail(f"{x.name} is not known to be a (B, C, H, W) map")
    node = cast("ir.Node", mean.producer())
    keepdims = node.attributes.get("keepdims")
    if keepdims is not None and not keepdims.as_int():
        return result.fail(f"{mean.name} drops the axes")
    axes = _axes(node)
    if axes is None or sorted(axis % _MAP_DIMS for axis in axes) != [2, 3]:
        return result.fail(f"{mean.name} is the mean over axes {axes}, not over height and width")
    return result


def _axes(node: ir.Node) -> list[int] | None:
    # Up to opset 17 the axes are an attribute, from opset 18 on an input. Without them the mean is over all axes.
    if "axes" in node.attributes:
        return list(node.attributes["axes"].as_ints())
    tensor = ir.convenience.get_const_tensor(node.inputs[1]) if len(node.inputs) > 1 and node.inputs[1] else None
    return None if tensor is None else tensor.numpy().tolist()


def _rewrite(op: RewriterContext, x: ir.Value, **_: ir.Value) -> ir.Value:
    return op.GlobalAveragePool(x)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


MEAN_AS_POOLING = RewriteRule(_pattern, _rewrite, _check, name="mean_as_pooling")
"""ReduceMean(x, axes=[2, 3], keepdims=1) -> GlobalAveragePool(x)."""
