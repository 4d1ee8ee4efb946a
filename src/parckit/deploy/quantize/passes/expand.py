"""Store a repeated constant, such as the sum of position embeddings, as it is.

The float file repeats embeddings in the graph, because repeated numbers would take 4 bytes each. In int8 they take one.
OpenVINO cannot load a graph in which a quantized constant is repeated, and ONNX Runtime repeats it in every run.
"""

from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder

from parckit.deploy.quantize.constants import constant_of


def _pattern(op: OpsetPatternBuilder, x: ir.Value, sizes: ir.Value) -> object:
    return op.Expand(x, sizes, _outputs=["repeated"])


def _check(context: MatchContext, x: ir.Value, sizes: ir.Value, **_: ir.Value) -> MatchResult:
    del context
    if constant_of(x) is None or ir.convenience.get_const_tensor(sizes) is None:
        return MatchResult().fail(f"{x.name} or its new shape is not constant")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, sizes: ir.Value, repeated: ir.Value) -> ir.Value:
    numbers = cast("np.ndarray", constant_of(x))
    wanted = cast("ir.TensorProtocol", ir.convenience.get_const_tensor(sizes)).numpy().tolist()
    whole = np.broadcast_to(numbers, np.broadcast_shapes(numbers.shape, tuple(wanted)))
    return op.initializer(ir.tensor(np.ascontiguousarray(whole)), name=f"{repeated.name}.repeated")


REPEATED_CONSTANT = RewriteRule(_pattern, _rewrite, _check, name="repeated_constant")
"""Expand(constant, sizes) -> the repeated constant."""
