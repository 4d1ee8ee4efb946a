r"""Position-aware circular convolution: a depthwise convolution over a whole axis whose ends are joined.

For every channel, with the axis of length n and n taps w,

    out[i] = sum_k w[k] * x[(i + k) mod n]                                  (ParC-Net, section 3.1)

The same numbers come from two forms:

* *conv* (the paper's): append the first n - 1 rows to the end, then convolve without padding.
* *matmul*: out = M x with the circulant matrix M[i, j] = w[(j - i) mod n], built once per call for each channel. Its
  own autograd function keeps x and w, never M, and sums the gradient of M along its wrapped diagonals.

`circular_conv` is the one call; a further form is one more name in `Form` and one more branch there.
"""

from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn
from torch.autograd.function import FunctionCtx, once_differentiable

Axis = Literal["height", "width"]
Form = Literal["auto", "conv", "matmul"]

_DIM: dict[Axis, int] = {"height": 2, "width": 3}


def circular_conv(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "c_out c_in kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
    *,
    axis: Axis,
    form: Form = "auto",
) -> Float[Tensor, "b c_out h w"]:
    """Convolve along one whole axis with circular padding (ParC-Net, section 3.1).

    Args:
        x: feature map.
        weight: as many taps as the axis is long, `(C, 1, H, 1)` for `"height"`, `(C, 1, 1, W)` for `"width"`. More
            input channels per group (ParC-ResNet50 is dense), or more outputs than inputs, run in the conv form.
        bias: one number per output channel.
        axis: the axis to convolve along.
        form: how to compute it; `"auto"` chooses by shape and device. `"matmul"` is for depthwise weights and cannot be
            differentiated twice.

    Raises:
        ValueError: if the weight's taps do not match the axis, `form` or `axis` is unknown, or a weight that is not
            depthwise is to run in the matmul form.

    Shape:
        (B, C, H, W) -> (B, C_out, H, W)
    """
    dim = _axis_dim(axis)
    taps = _along(x.shape[dim], axis)
    if tuple(weight.shape[2:]) != taps:
        raise ValueError(f"weight of shape {tuple(weight.shape)}: axis={axis!r} of this input needs taps {taps}")
    if form not in get_args(Form):
        raise ValueError(f"form={form!r}: choose from {get_args(Form)}")
    depthwise = weight.shape[:2] == (x.shape[1], 1)
    if form == "matmul" and not depthwise:
        raise ValueError(f"weight of shape {tuple(weight.shape)}: form='matmul' needs a depthwise one")
    if form == "conv" or not depthwise or (form == "auto" and not _matmul_is_faster(x, dim)):
        return _conv_form(x, weight, bias, dim=dim)
    out = _matmul_form(x, weight.flatten(1), dim=dim)
    return out if bias is None else out + bias.to(out.dtype).view(-1, 1, 1)


def circular_conv_reference(
    x: Float[Tensor, "b c h w"], weight: Float[Tensor, "c 1 kh kw"], *, axis: Axis
) -> Float[Tensor, "b c h w"]:
    """Compute the definition tap by tap, in float64: slow, obvious, the yardstick of every other form.

    Shape:
        (B, C, H, W) -> (B, C, H, W), float64
    """
    taps = weight.double().flatten(1)
    terms = (taps[:, k].view(-1, 1, 1) * x.double().roll(-k, _axis_dim(axis)) for k in range(taps.shape[1]))
    return torch.stack(list(terms)).sum(0)


def resize_along(weight: Float[Tensor, "a b kh kw"], length: int, *, axis: Axis) -> Float[Tensor, "a b kh2 kw2"]:
    """Interpolate a kernel or embedding to `length` along its axis, end points kept (ParC-Net, section 3.1).

    Linear, as bilinear with aligned corners is along one axis; values are not rescaled. At its own length it is
    returned as it is.

    Shape:
        (A, B, K, 1) -> (A, B, length, 1) for height; (A, B, 1, K) -> (A, B, 1, length) for width
    """
    if weight.shape[_axis_dim(axis)] == length:
        return weight
    return F.interpolate(weight, size=_along(length, axis), mode="bilinear", align_corners=True)


class CircularConv2d(nn.Module):
    """Circular convolution along one axis whose kernel follows the size of the feature map (ParC-Net, section 3.1).

    Args:
        dim: channels.
        length: taps that are learned; interpolated where the feature map's axis has another length.
        axis: the axis to convolve along.
        groups: `dim` (default) is depthwise, 1 is dense.
        bias: add one number per channel.

    Attributes:
        form: how to compute it, see `circular_conv`; may be set at any time.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis, groups: int | None = None, bias: bool = False) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.form: Form = "auto"
        fan_in = dim // (groups or dim)
        self.weight = nn.Parameter(torch.empty(dim, fan_in, *_along(length, axis)))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernel uniformly from ±1/sqrt(fan in), as the official models do; the bias becomes 0."""
        bound = self.weight[0].numel() ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convolve with the kernel at the size of `x`."""
        weight = resize_along(self.weight, x.shape[_axis_dim(self.axis)], axis=self.axis)
        return circular_conv(x, weight, self.bias, axis=self.axis, form=self.form)

    def extra_repr(self) -> str:
        """Show what tells one instance from another."""
        return f"{self.weight.shape[0]}, length={max(self.weight.shape[2:])}, axis={self.axis!r}, form={self.form!r}"


class PositionEmbedding(nn.Module):
    """A learned vector per position along one axis, added to the map and interpolated to its size (section 3.1).

    Without it a circular convolution could not tell where it is.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis) -> None:
        super().__init__()
        self.axis: Axis = axis
        # Standard normal is the official initialisation (std 1, not the usual 0.02).
        self.weight = nn.Parameter(torch.randn(1, dim, *_along(length, axis)))

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the embedding at the size of `x`."""
        return x + resize_along(self.weight, x.shape[_axis_dim(self.axis)], axis=self.axis)


def _along(length: int, axis: Axis) -> tuple[int, int]:
    return (length, 1) if axis == "height" else (1, length)


def _axis_dim(axis: Axis) -> int:
    if axis not in _DIM:
        raise ValueError(f"axis={axis!r}: choose from {get_args(Axis)}")
    return _DIM[axis]


def _matmul_is_faster(x: Tensor, dim: int) -> bool:
    """Choose by what was timed on a CPU with AVX-512, batches 1 to 128, axes of 2 to 32; elsewhere the paper's form.

    On NCHW maps the batched product wins forward and backward. On channels-last maps it must copy, and wins only where
    the depthwise backward along the width is slow: in bfloat16, or in training from 32 taps on.
    """
    if x.device.type != "cpu":
        return False
    if x.is_contiguous():
        return True
    training = torch.is_grad_enabled() and x.requires_grad
    return dim == _DIM["width"] and training and (x.dtype == torch.bfloat16 or x.shape[3] >= 32)


def _conv_form(x: Tensor, weight: Tensor, bias: Tensor | None, *, dim: int) -> Tensor:
    wrapped = torch.cat((x, x.narrow(dim, 0, x.shape[dim] - 1)), dim)
    return F.conv2d(wrapped, weight, bias, groups=x.shape[1] // weight.shape[1])


def _matmul_form(x: Tensor, taps: Tensor, *, dim: int) -> Tensor:
    if torch.is_autocast_enabled(x.device.type):
        dtype = torch.get_autocast_dtype(x.device.type)
        x, taps = x.to(dtype), taps.to(dtype)
    return _CirculantMatmul.apply(x, taps, dim)  # pyright: ignore[reportReturnType]


def _offsets(n: int, device: torch.device) -> Tensor:
    positions = torch.arange(n, device=device)
    return (positions - positions[:, None]) % n


def _circulant(taps: Tensor) -> Tensor:
    """(C, n) -> (C, n, n): M[c, i, j] = taps[c, (j - i) mod n]."""
    return taps[:, _offsets(taps.shape[1], taps.device)]


_PRODUCT = {2: "cij,bcjw->bciw", 3: "cij,bchj->bchi"}
_OUTER = {2: "bciw,bcjw->cij", 3: "bchi,bchj->cij"}


def _apply_circulant(x: Tensor, matrix: Tensor, dim: int) -> Tensor:
    return torch.einsum(_PRODUCT[dim], matrix, x)


class _CirculantMatmul(torch.autograd.Function):
    """out = M(w) x with gradients M(w)^T g for x, and for w[k] the sum of (g x^T)[i, (i + k) mod n] over i."""

    @staticmethod
    def forward(ctx: FunctionCtx, x: Tensor, taps: Tensor, dim: int) -> Tensor:  # pyright: ignore[reportIncompatibleMethodOverride]
        ctx.save_for_backward(x, taps)
        ctx.dim = dim  # pyright: ignore[reportAttributeAccessIssue]
        return _apply_circulant(x, _circulant(taps), dim)

    @staticmethod
    @once_differentiable
    def backward(ctx: FunctionCtx, grad: Tensor) -> tuple[Tensor | None, Tensor | None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        x, taps = ctx.saved_tensors  # pyright: ignore[reportAttributeAccessIssue]
        dim: int = ctx.dim  # pyright: ignore[reportAttributeAccessIssue]
        grad_x = grad_taps = None
        if ctx.needs_input_grad[0]:  # pyright: ignore[reportAttributeAccessIssue]
            grad_x = _apply_circulant(grad, _circulant(taps).mT, dim)
        if ctx.needs_input_grad[1]:  # pyright: ignore[reportAttributeAccessIssue]
            outer = torch.einsum(_OUTER[dim], grad, x)
            positions = torch.arange(taps.shape[1], device=taps.device)
            diagonals = (positions[:, None] + positions) % taps.shape[1]
            grad_taps = outer.gather(2, diagonals.expand_as(outer)).sum(1)
        return grad_x, grad_taps, None
