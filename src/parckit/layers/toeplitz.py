r"""Multiply by one Toeplitz matrix per channel: a convolution along one axis, written as a matrix product.

A convolution along an axis of length n is out = M x with M[i, j] = d[j - i], for every padding. M is constant along its
diagonals, so the numbers d[-(n - 1)] ... d[n - 1] define it:

* ends joined (circular), n taps w: d[k] = w[k mod n]. M is circulant.
* zeros outside, K taps w around the middle one: d[k] = w[k + K // 2], or 0 if there is no such tap. M is banded.

They are stored as 2n numbers, beginning with d[-n]. This number is not in M, but with it the layout below works for
n = 1, too.

`toeplitz` makes M without arithmetic. It writes the 2n numbers n times in a row. Row i of M begins at number n - i of
copy i, so M is a strided view. The gradient of the diagonals uses the same layout backwards, followed by a sum.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx

from parckit.layers.tracing import fixed, needs_plain_operators


def circular_diagonals(taps: Float[Tensor, "c n"]) -> Float[Tensor, "c 2*n"]:
    """Return the diagonals of the circulant matrix of n taps.

    Shape:
        (C, n) -> (C, 2n)
    """
    return torch.cat((taps, taps), dim=1)


def banded_diagonals(taps: Float[Tensor, "c k"], length: int) -> Float[Tensor, "c diagonals"]:
    """Return the diagonals of the banded matrix of an odd number of taps; taps that reach no element are dropped.

    Shape:
        (C, K) -> (C, 2 length)
    """
    # A negative margin makes `F.pad` drop taps.
    margin = fixed(length) - 1 - fixed(taps.shape[1]) // 2
    return F.pad(taps, (margin + 1, margin))


def toeplitz(diagonals: Float[Tensor, "c diagonals"]) -> Float[Tensor, "c n n"]:
    """Return the matrix of the diagonals, M[i, j] = diagonals[n + j - i]: a strided view of n copies of them.

    Shape:
        (C, 2n) -> (C, n, n)
    """
    channels, period = diagonals.shape
    n = period // 2
    copies = diagonals[:, None, :].expand(channels, n, period).reshape(channels, n * period)
    # A row of the view is one element shorter than a copy, so it starts one diagonal earlier than the row above.
    rows = copies[:, n:].view(channels, n, period - 1)
    return rows[:, :, :n]


def sum_of_diagonals(matrix: Float[Tensor, "c n n"]) -> Float[Tensor, "c diagonals"]:
    """Sum a matrix along each of its diagonals: the adjoint of `toeplitz`.

    Shape:
        (C, n, n) -> (C, 2n)
    """
    channels, n, _ = matrix.shape
    period = 2 * n
    copies = matrix.new_zeros(channels, n * period)
    copies[:, n:].view(channels, n, period - 1)[:, :, :n] = matrix
    return copies.view(channels, n, period).sum(1)


def multiply(x: Float[Tensor, "b c h w"], matrix: Float[Tensor, "c n n"], *, dim: int) -> Float[Tensor, "b c h w"]:
    """Multiply every column (`dim` 2) or row (`dim` 3) of every channel by the channel's matrix.

    Shape:
        (B, C, H, W), (C, H, H) -> (B, C, H, W) for dim 2; (C, W, W) for dim 3
    """
    differentiable = torch.is_grad_enabled() and (x.requires_grad or matrix.requires_grad)
    if differentiable or needs_plain_operators() or x.shape[0] == 1:
        # Not `mT`: torch's classic ONNX exporter does not know it.
        return torch.matmul(matrix, x) if dim == 2 else torch.matmul(x, matrix.transpose(1, 2))
    # One image at a time: a broadcast product would copy the matrices for every image.
    out = x.new_empty(x.shape)
    for image, product in zip(x, out, strict=True):
        if dim == 2:
            torch.bmm(matrix, image, out=product)
        else:
            torch.bmm(image, matrix.mT, out=product)
    return out


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors in the precision of autocast if it is enabled, else unchanged."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)


def toeplitz_matmul(
    x: Float[Tensor, "b c h w"], diagonals: Float[Tensor, "c diagonals"], *, dim: int
) -> Float[Tensor, "b c h w"]:
    """Multiply along `dim` (2 or 3) by the Toeplitz matrix of each channel.

    The backward pass builds the matrices again instead of keeping them in memory. Under autocast, it runs in
    autocast's precision.

    Shape:
        (B, C, H, W), (C, 2n) -> (B, C, H, W), n = H for dim 2, W for dim 3
    """
    x, diagonals = autocast(x, diagonals)
    if needs_plain_operators() or not torch.is_grad_enabled():
        return multiply(x, toeplitz(diagonals), dim=dim)
    return _ToeplitzMatmul.apply(x, diagonals, dim)  # pyright: ignore[reportReturnType]


class _ToeplitzMatmul(torch.autograd.Function):
    """out = M(d) x. With the gradient g of out: M(d)^T g for x; for d, the sums of g x^T along the diagonals."""

    @staticmethod
    def forward(x: Tensor, diagonals: Tensor, dim: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return multiply(x, toeplitz(diagonals), dim=dim)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del output
        x, diagonals, ctx.dim = inputs  # pyright: ignore[reportAttributeAccessIssue]
        ctx.save_for_backward(x, diagonals)
        ctx.save_for_forward(x, diagonals)

    @staticmethod
    def jvp(ctx: FunctionCtx, x_tangent: Tensor | None, diagonals_tangent: Tensor | None, _: None) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, diagonals = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        dim: int = ctx.dim  # pyright: ignore[reportAttributeAccessIssue]
        tangent = torch.zeros_like(x)
        if x_tangent is not None:
            tangent = tangent + multiply(x_tangent, toeplitz(diagonals), dim=dim)
        if diagonals_tangent is not None:
            tangent = tangent + multiply(x, toeplitz(diagonals_tangent), dim=dim)
        return tangent

    @staticmethod
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, diagonals = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        dim: int = ctx.dim  # pyright: ignore[reportAttributeAccessIssue]
        grad_x = grad_diagonals = None
        if ctx.needs_input_grad[0]:  # pyright: ignore[reportAttributeAccessIssue]
            grad_x = multiply(grad, toeplitz(diagonals).mT, dim=dim)
        if ctx.needs_input_grad[1]:  # pyright: ignore[reportAttributeAccessIssue]
            grad_diagonals = sum_of_diagonals(_outer(grad, x, dim=dim)).to(diagonals.dtype)
        return grad_x, grad_diagonals, None


def _outer(grad: Tensor, x: Tensor, *, dim: int) -> Tensor:
    """Sum g x^T over images and over the other axis, in float32 or higher: two (B, C, H, W) -> (C, n, n)."""
    n, dtype = x.shape[dim], torch.promote_types(x.dtype, torch.float32)
    if torch.is_grad_enabled():
        # `create_graph=True`: second derivatives need operators that autograd can record.
        left, right = (grad, x.transpose(2, 3)) if dim == 2 else (grad.transpose(2, 3), x)
        return torch.matmul(left.to(dtype), right.to(dtype)).sum(0)
    total = x.new_zeros(x.shape[1], n, n, dtype=dtype)
    for g, image in zip(grad, x, strict=True):
        left, right = (g, image.mT) if dim == 2 else (g.mT, image)
        if total.dtype == x.dtype:
            torch.baddbmm(total, left, right, out=total)
        else:
            # The products have low precision. The sum has float32, because else every image would add a rounding error.
            total += torch.bmm(left, right)
    return total
