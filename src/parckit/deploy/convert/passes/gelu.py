"""Write GELU in the one form that engines recognise as one operator, and that none approximates.

GELU(x) = x * Phi(x), with 2 Phi(x) = 1 + erf(x / sqrt 2). Torch's exporters write it in three forms:

* x * (0.5 * (1 + erf(..))), for opsets 18 and 19. ONNX Runtime runs this as separate operators.
* (x * (1 + erf(..))) * 0.5, for opsets below 18. MNN replaces it by an approximation with tanh, which is wrong by up to
  5e-4.
* the operator Gelu, for opsets from 20 on. MNN approximates it, too.

Here all of them become (x * 0.5) * (1 + erf(..)). ONNX Runtime recognises it as GELU, and MNN leaves it alone.
Multiplying by 0.5 is exact in floating point, so all orders give the same result.
"""

import math
from typing import cast

import numpy as np
import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder


def _pattern(op: OpsetPatternBuilder, x: ir.Value, half: ir.Value, double_phi: ir.Value) -> object:
    return op.Mul(x, op.Mul(half, double_phi))


def _pattern_of_old_exporter(op: OpsetPatternBuilder, x: ir.Value, half: ir.Value, double_phi: ir.Value) -> object:
    return op.Mul(op.Mul(x, double_phi), half)


def _check(context: MatchContext, x: ir.Value, half: ir.Value, double_phi: ir.Value) -> MatchResult:
    del context
    if not _is_number(half, 0.5):
        return MatchResult().fail(f"{half.name} is not 0.5")
    add = double_phi.producer()
    erf = add.inputs[0].producer() if add is not None and add.op_type == "Add" and add.inputs[0] else None
    div = erf.inputs[0].producer() if erf is not None and erf.op_type == "Erf" and erf.inputs[0] else None
    if add is None or div is None or div.op_type != "Div" or div.inputs[0] is not x:
        return MatchResult().fail(f"{double_phi.name} is not the sum of a number and erf({x.name} / a number)")
    if not _is_number(add.inputs[1], 1) or not _is_number(div.inputs[1], math.sqrt(2)):
        return MatchResult().fail(f"{double_phi.name} is not 1 + erf({x.name} / sqrt 2)")
    return MatchResult()


def _rewrite(op: RewriterContext, *, x: ir.Value, half: ir.Value, double_phi: ir.Value) -> ir.Value:
    return op.Mul(op.Mul(x, half), double_phi)  # pyright: ignore[reportAttributeAccessIssue]  # operators are attributes made on access


def _is_number(value: ir.Value | None, wanted: float) -> bool:
    tensor = None if value is None else ir.convenience.get_const_tensor(value)
    # The number is stored in float32, whose relative precision is better than 1e-6.
    return tensor is not None and tensor.size == 1 and math.isclose(tensor.numpy().item(), wanted, rel_tol=1e-6)


def _pattern_of_operator(op: OpsetPatternBuilder, x: ir.Value) -> object:
    return op.Gelu(x, _allow_other_attributes=True, _outputs=["y"])


def _check_operator(context: MatchContext, x: ir.Value, y: ir.Value) -> MatchResult:
    del context, x
    if cast("ir.Node", y.producer()).attributes.get_string("approximate", "none") != "none":
        return MatchResult().fail(f"{y.name} is an approximation")
    return MatchResult()


def _rewrite_operator(op: RewriterContext, *, x: ir.Value, y: ir.Value) -> ir.Value:
    numbers = {"half": 0.5, "one": 1.0, "root": math.sqrt(2)}
    half, one, root = (
        op.initializer(ir.tensor(np.array(number, np.float32)), name=f"{y.name}.{name}")
        for name, number in numbers.items()
    )
    # Operators are attributes of `op` that it makes on access.
    double_phi = op.Add(op.Erf(op.Div(x, root)), one)  # pyright: ignore[reportAttributeAccessIssue]
    return _rewrite(op, x=x, half=half, double_phi=double_phi)


GELU_ORDER = RewriteRule(_pattern, _rewrite, _check, name="gelu_order")
"""x * (0.5 * (1 + erf(x / sqrt 2))) -> (x * 0.5) * (1 + erf(x / sqrt 2))."""
GELU_ORDER_OF_OLD_EXPORTER = RewriteRule(_pattern_of_old_exporter, _rewrite, _check, name="gelu_order_of_old_exporter")
"""(x * (1 + erf(x / sqrt 2))) * 0.5 -> (x * 0.5) * (1 + erf(x / sqrt 2))."""
GELU_WITHOUT_OPERATOR = RewriteRule(
    _pattern_of_operator, _rewrite_operator, _check_operator, name="gelu_without_operator"
)
"""Gelu(x) -> (x * 0.5) * (1 + erf(x / sqrt 2))."""
