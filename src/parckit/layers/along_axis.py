r"""Convolution along one whole axis of a feature map, in two equal forms.

There are two paddings. With an axis of length n and taps w,

    circular    out[i] = sum_k w[k] * x[(i + k) mod n],     n taps                    (ParC-Net, section 3.1)
    zeros       out[i] = sum_k w[k] * x[i + k - K // 2],    K taps, K odd, x 0 outside (ParCNetV2, section 3.2)

Two forms compute the same numbers:

* *conv*, as in the papers: append the first n - 1 rows, or pad with zeros, and convolve.
* *matmul*: multiply by the Toeplitz matrix of the taps (`toeplitz.py`).

`axis_conv` is the one function for all of this. A further form needs one more name in `Form` and one more branch there.
"""

from abc import ABC, abstractmethod
from typing import Literal, get_args

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.axis_form import FORMS, Form, Padding, choose_form
from parckit.layers.toeplitz import (
    banded_diagonals,
    circular_diagonals,
    toeplitz_matmul,
)
from parckit.layers.tracing import fixed, is_open

# These functions branch on the size of the map, so torch.fx records a call as one node. `wrap` works for one file; a
# file that imports a function wraps it again.
torch.fx.wrap("resize_along")
torch.fx.wrap("axis_conv")

Axis = Literal["height", "width"]
_DIM: dict[Axis, int] = {"height": 2, "width": 3}


def axis_conv(
    x: Float[Tensor, "b c h w"],
    weight: Float[Tensor, "c_out c_in kh kw"],
    bias: Float[Tensor, " c_out"] | None = None,
    *,
    axis: Axis,
    padding: Padding,
    form: Form = "auto",
) -> Float[Tensor, "b c_out h w"]:
    """Convolve along one whole axis.

    Args:
        x: feature map.
        weight: `(C, 1, K, 1)` for `"height"`, `(C, 1, 1, K)` for `"width"`; K is the axis' length for circular padding,
            any odd number for zeros. More input channels per group (ParC-ResNet50 is dense), or more outputs than
            inputs, runs in the conv form.
        bias: one number per output channel.
        axis: the axis to convolve along.
        padding: what stands beyond the ends.
        form: how to compute it; `"auto"` takes the form that was faster when we timed both. `"matmul"` needs a
            depthwise weight.

    Raises:
        ValueError: if the weight's taps do not fit, if `form`, `axis` or `padding` is unknown, or if `form` is
            `"matmul"` and the weight is not depthwise.

    Shape:
        (B, C, H, W) -> (B, C_out, H, W)
    """
    dim = axis_dim(axis)
    _check_taps(x, weight, axis=axis, padding=padding)
    if _is_conv(x, weight, dim=dim, padding=padding, form=form):
        return _conv_form(x, weight, bias, dim=dim, padding=padding)
    out = toeplitz_matmul(x, diagonals_of(weight.flatten(1), x.shape[dim], padding=padding), dim=dim)
    return out if bias is None else out + bias.to(out.dtype).view(-1, 1, 1)


def resize_along(weight: Float[Tensor, "a b kh kw"], length: int, *, axis: Axis) -> Float[Tensor, "a b kh2 kw2"]:
    """Interpolate a kernel or embedding to `length` along its axis, end points kept (ParC-Net, section 3.1).

    Linear, as bilinear with aligned corners is along one axis; values are not rescaled. At its own length it is
    returned as it is.

    In a trace of `torch.jit`, `length` becomes a constant: a trace is for one size. `torch.export` may leave `length`
    open; then the program always interpolates, which changes nothing at the learned length.

    Shape:
        (A, B, K, 1) -> (A, B, length, 1) for height; (A, B, 1, K) -> (A, B, 1, length) for width
    """
    length = fixed(length)
    if not is_open(length) and weight.shape[axis_dim(axis)] == length:
        return weight
    return F.interpolate(weight, size=along(length, axis), mode="bilinear", align_corners=True)


class AxisConv2d(nn.Module, ABC):
    """A learned convolution along one whole axis; what kernel a map of some length gets is up to the subclass.

    Args:
        dim: channels.
        length: taps that are learned.
        axis: the axis to convolve along.
        padding: what stands beyond the ends.
        groups: `dim` (default) is depthwise, 1 is dense.
        bias: add one number per channel.

    Attributes:
        form: how to compute it, see `axis_conv`; may be set at any time.

    Raises:
        ValueError: if `length` is not positive, or `groups` does not divide `dim`.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self, dim: int, length: int, *, axis: Axis, padding: Padding, groups: int | None = None, bias: bool = False
    ) -> None:
        super().__init__()
        groups = dim if groups is None else groups
        if min(dim, length, groups) < 1 or dim % groups:
            raise ValueError(f"dim={dim}, length={length}, groups={groups}: must be positive, groups must divide dim")
        self.axis: Axis = axis
        self.padding: Padding = padding
        self.form: Form = "auto"
        self.weight = nn.Parameter(torch.empty(dim, dim // groups, *along(length, axis)))
        self.bias = nn.Parameter(torch.zeros(dim)) if bias else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw the kernel uniformly from ±1/sqrt(fan in), as the official models do; the bias becomes 0."""
        bound = self.weight[0].numel() ** -0.5
        nn.init.uniform_(self.weight, -bound, bound)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    @abstractmethod
    def weight_at(self, length: int) -> Float[Tensor, "c_out c_in kh kw"]:
        """Return the kernel for a map whose axis has `length` positions."""

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convolve with the kernel at the size of `x`."""
        weight = self.weight_at(x.shape[axis_dim(self.axis)])
        return axis_conv(x, weight, self.bias, axis=self.axis, padding=self.padding, form=self.form)

    def extra_repr(self) -> str:
        """Show what tells one instance from another."""
        return f"{self.weight.shape[0]}, length={max(self.weight.shape[2:])}, axis={self.axis!r}, form={self.form!r}"


def along(length: int, axis: Axis) -> tuple[int, int]:
    """Return (length, 1) for the height, (1, length) for the width."""
    return (length, 1) if axis == "height" else (1, length)


def axis_dim(axis: Axis) -> int:
    """Return the dimension of an axis in (B, C, H, W).

    Raises:
        ValueError: if there is no such axis.
    """
    if axis not in _DIM:
        raise ValueError(f"axis={axis!r}: choose from {get_args(Axis)}")
    return _DIM[axis]


def _check_taps(x: Tensor, weight: Tensor, *, axis: Axis, padding: Padding) -> None:
    dim = axis_dim(axis)
    length, count, across = x.shape[dim], weight.shape[dim], weight.shape[5 - dim]
    if padding == "circular":
        if count != length or across != 1:
            raise ValueError(f"weight of shape {tuple(weight.shape)}: axis={axis!r} needs taps {along(length, axis)}")
    elif padding != "zeros":
        raise ValueError(f"padding={padding!r}: choose from {get_args(Padding)}")
    elif count % 2 == 0 or across != 1:
        raise ValueError(
            f"weight of shape {tuple(weight.shape)}: needs an odd number of taps along axis={axis!r} alone"
        )


def _is_conv(x: Tensor, weight: Tensor, *, dim: int, padding: Padding, form: Form) -> bool:
    """Return whether the conv form computes, not the matmul form."""
    if form not in FORMS:
        raise ValueError(f"form={form!r}: choose from {FORMS}")
    depthwise = weight.shape[:2] == (x.shape[1], 1)
    if form == "auto":
        return not depthwise or choose_form(x, dim=dim, padding=padding) == "conv"
    if form == "matmul" and not depthwise:
        raise ValueError(f"weight of shape {tuple(weight.shape)}: form={form!r} needs a depthwise one")
    return form == "conv"


def _conv_form(x: Tensor, weight: Tensor, bias: Tensor | None, *, dim: int, padding: Padding) -> Tensor:
    groups = x.shape[1] // weight.shape[1]
    if padding == "zeros":
        return F.conv2d(x, weight, bias, padding=(weight.shape[2] // 2, weight.shape[3] // 2), groups=groups)
    length = x.shape[dim]
    if is_open(length):
        # A program of `torch.export` refuses a piece with 1 position, if it was made for longer ones. So cut the piece
        # from twice the map: length - 1 positions would refuse maps with 2.
        wrapped = torch.cat((x, x), dim).narrow(dim, 0, 2 * length - 1)
    else:
        wrapped = torch.cat((x, x.narrow(dim, 0, length - 1)), dim)
    return F.conv2d(wrapped, weight, bias, groups=groups)


def diagonals_of(taps: Float[Tensor, "c k"], length: int, *, padding: Padding) -> Float[Tensor, "c diagonals"]:
    """Return the diagonals of the matrix of a convolution along an axis of `length`, as `toeplitz` takes them.

    Shape:
        (C, K) -> (C, 2 length)
    """
    return circular_diagonals(taps) if padding == "circular" else banded_diagonals(taps, length)
