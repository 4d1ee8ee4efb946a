"""Reorder the factors of GELU, so that engines recognise it as one operator, and none approximates it.

GELU(x) = x * Phi(x), with 2 Phi(x) = 1 + erf(x / sqrt 2). PyTorch's exporter writes x * (0.5 * (1 + erf(..))), and ONNX
Runtime runs this as separate operators. It recognises (x * 0.5) * (1 + erf(..)) as GELU. Multiplying by 0.5 is exact in
floating point, so both orders give the same result.

ONNX Runtime recognises (x * (1 + erf(..))) * 0.5, too. But MNN replaces this order, and the operator Gelu, by an
approximation with tanh, which is wrong by up to 5e-4. It leaves the order that is written here alone.
"""

import math

import onnx_ir as ir
from onnxscript.rewriter import MatchContext, MatchResult, RewriterContext, RewriteRule
from onnxscript.rewriter.pattern import OpsetPatternBuilder


def _pattern(op: OpsetPatternBuilder, x: ir.Value, half: ir.Value, double_phi: ir.Value) -> object:
    return op.Mul(x, op.Mul(half, double_phi))


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


GELU_ORDER = RewriteRule(_pattern, _rewrite, _check, name="gelu_order")
"""x * (0.5 * (1 + erf(x / sqrt 2))) -> (x * 0.5) * (1 + erf(x / sqrt 2))."""
