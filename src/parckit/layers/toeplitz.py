r"""Products with a Toeplitz matrix per channel: what a convolution along one axis is, written as a matrix.

A convolution along an axis of length n, whatever happens at its ends, is out = M x with M[i, j] = d[j - i]: constant
along its diagonals. The diagonals d[-(n - 1)] ... d[n - 1] are all there is to know:

* ends joined (circular), n taps w: d[k] = w[k mod n]. M is circulant.
* zeros outside, K taps w around the middle one: d[k] = w[k + K // 2], 0 where there is no such tap. M is banded.

They are stored as 2n numbers, d[-n] first: it is in no matrix, and makes the layout below work for n = 1 too.

`toeplitz` lays the diagonals out as M without arithmetic: written n times behind one another, every row of M is found
one place further to the left than the row above, so that M is a strided view. The gradient of the diagonals is the same
layout backwards, followed by a sum.
"""

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor
from torch.autograd.function import FunctionCtx, once_differentiable


def circular_diagonals(taps: Float[Tensor, "c n"]) -> Float[Tensor, "c 2*n"]:
    """Return the diagonals of the circulant matrix of n taps.

    Shape:
        (C, n) -> (C, 2n)
    """
    return torch.cat((taps, taps), dim=1)


def banded_diagonals(taps: Float[Tensor, "c k"], length: int) -> Float[Tensor, "c diagonals"]:
    """Return the diagonals of the banded matrix of an odd number of centred taps; taps that reach no element drop out.

    Shape:
        (C, K) -> (C, 2 length)
    """
    margin = length - 1 - taps.shape[1] // 2
    return F.pad(taps, (margin + 1, margin))


def toeplitz(diagonals: Float[Tensor, "c diagonals"]) -> Float[Tensor, "c n n"]:
    """Lay diagonals out as a matrix: a strided view of n copies, M[i, j] = diagonals[n + j - i].

    Shape:
        (C, 2n) -> (C, n, n)
    """
    channels, period = diagonals.shape
    n = period // 2
    copies = diagonals[:, None, :].expand(channels, n, period).reshape(channels, n * period)
    # A row that is one element shorter than the period starts one diagonal earlier.
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
    if x.shape[0] == 1 or differentiable or is_traced():
        return torch.matmul(matrix, x) if dim == 2 else torch.matmul(x, matrix.mT)
    # Image by image: a broadcast product would copy the matrices once for every image.
    out = x.new_empty(x.shape)
    for image, product in zip(x, out, strict=True):
        if dim == 2:
            torch.bmm(matrix, image, out=product)
        else:
            torch.bmm(image, matrix.mT, out=product)
    return out


def is_traced() -> bool:
    """Tell whether calls are being recorded into a program, which wants plain operators and no loop over images."""
    return torch.compiler.is_compiling() or torch.jit.is_tracing()


def autocast(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Return tensors in the precision of the running autocast, if there is one."""
    device = tensors[0].device.type
    if not torch.is_autocast_enabled(device):
        return tensors
    return tuple(tensor.to(torch.get_autocast_dtype(device)) for tensor in tensors)


def toeplitz_matmul(
    x: Float[Tensor, "b c h w"], diagonals: Float[Tensor, "c diagonals"], *, dim: int
) -> Float[Tensor, "b c h w"]:
    """Multiply along `dim` (2 or 3) by the Toeplitz matrix of each channel; for the backward pass M is not kept.

    Has no second derivatives. Runs in the lower precision under autocast.

    Shape:
        (B, C, H, W), (C, 2n) -> (B, C, H, W), n = H for dim 2, W for dim 3
    """
    x, diagonals = autocast(x, diagonals)
    if is_traced() or not torch.is_grad_enabled():
        return multiply(x, toeplitz(diagonals), dim=dim)
    return _ToeplitzMatmul.apply(x, diagonals, dim)  # pyright: ignore[reportReturnType]


class _ToeplitzMatmul(torch.autograd.Function):
    """out = M(d) x with gradients M(d)^T g for x, and for d the sums of g x^T along its diagonals."""

    @staticmethod
    def forward(x: Tensor, diagonals: Tensor, dim: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        return multiply(x, toeplitz(diagonals), dim=dim)

    @staticmethod
    def setup_context(ctx: FunctionCtx, inputs: tuple[Tensor, Tensor, int], output: Tensor) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        del output
        x, diagonals, ctx.dim = inputs  # pyright: ignore[reportAttributeAccessIssue]
        ctx.save_for_backward(x, diagonals)

    @staticmethod
    @once_differentiable
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
    """Sum g x^T over images and over the positions off the axis: (B, C, H, W) twice -> (C, n, n), float32 at least."""
    n = x.shape[dim]
    total = x.new_zeros(x.shape[1], n, n, dtype=torch.promote_types(x.dtype, torch.float32))
    for g, image in zip(grad, x, strict=True):
        left, right = (g, image.mT) if dim == 2 else (g.mT, image)
        if total.dtype == x.dtype:
            torch.baddbmm(total, left, right, out=total)
        else:  # a sum in low precision would be rounded once for every image
            total += torch.bmm(left, right)
    return total
