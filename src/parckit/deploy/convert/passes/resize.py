"""Remove a resizing of a map to the size that it has already.

Decoders bring maps of several sizes to one size, and one of the maps has it. A resizing samples such a map exactly at
its positions, but engines still run the operator.
"""

from typing import cast

import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

_OF_PARTS = "tf_crop_and_resize"
"""The only mode in which a part of the map may be resized."""


def _pattern(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.Resize(x, _allow_other_inputs=True, _allow_other_attributes=True, _outputs=["y"])


def _check(context: MatchContext, x: ir.Value, y: ir.Value) -> MatchResult:
    del context
    result = MatchResult()
    if x.shape is None or y.shape is None or not x.shape.is_static() or not y.shape.is_static():
        return result.fail(f"the size of {x.name} or {y.name} is unknown")
    if x.shape != y.shape:
        return result.fail(f"{y.name} has another size than {x.name}")
    mode = cast("ir.Node", y.producer()).attributes.get("coordinate_transformation_mode")
    if mode is not None and mode.as_string() == _OF_PARTS:
        return result.fail(f"{y.name} may be a part of {x.name}")
    return result


def _rewrite(op: RewriterContext, x: ir.Value, **_: ir.Value) -> ir.Value:
    return op.Identity(x)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


SAME_SIZE = RewriteRule(_pattern, _rewrite, _check, name="same_size")
"""Resize(x) -> x, if both have the same size."""
