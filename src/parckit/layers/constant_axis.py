"""A convolution along one axis with a constant kernel; `parckit.fuse` replaces learned convolutions by it."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.along_axis import Axis, axis_conv, axis_dim, diagonals_of
from parckit.layers.axis_form import Form, Padding, choose_form
from parckit.layers.toeplitz import autocast, multiply, toeplitz
from parckit.layers.tracing import needs_plain_operators


@final
class ConstantAxisConv2d(nn.Module):
    """A convolution along one axis with a constant kernel, for maps of one length. `parckit.fuse` makes it.

    The matmul form builds its matrix at the first call and keeps it, but not in the state dict. It builds the matrix
    again after the kernel has changed. To notice this, it compares the kernel's values at every call; on a GPU, this
    makes the CPU wait for the result.

    Args:
        weight: the kernel for maps of `length`, see `axis_conv`; taps that reach no position are dropped.
        bias: one number per channel.
        axis: the axis to convolve along.
        padding: what lies beyond the ends of the axis: the other end, or zeros.
        length: number of positions of the map along the axis.
        form: how to compute the convolution, see `axis_conv`.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self,
        weight: Float[Tensor, "c_out c_in kh kw"],
        bias: Float[Tensor, " c_out"] | None,
        *,
        axis: Axis,
        padding: Padding,
        length: int,
        form: Form = "auto",
    ) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.padding: Padding = padding
        self.form: Form = form
        # Taps that reach no position at either end, since only the middle 2 * length - 1 taps can reach one.
        beyond = weight.shape[axis_dim(axis)] // 2 - (length - 1) if padding == "zeros" else 0
        if beyond > 0:
            weight = weight.narrow(axis_dim(axis), beyond, 2 * length - 1)
        self.weight = nn.Parameter(weight.detach().clone(), requires_grad=False)
        self.bias = None if bias is None else nn.Parameter(bias.detach().clone(), requires_grad=False)
        self._length = length
        # These are no buffers: exported programs would store them but never use them.
        self._matrix: Tensor | None = None
        self._matrix_taps: Tensor | None = None

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convolve with the constant kernel.

        Raises:
            ValueError: if the map has another length.
        """
        dim = axis_dim(self.axis)
        if x.shape[dim] != self._length:
            raise ValueError(f"x of size {tuple(x.shape[2:])}: this kernel is for {self.axis} {self._length} alone")
        form = self.form
        if form == "auto" and self.weight.shape[1] == 1:
            form = choose_form(x, dim=dim, padding=self.padding)
        # A traced program builds the matrix from the kernel; else its file would hold `length` times as many numbers.
        if form != "matmul" or needs_plain_operators():
            return axis_conv(x, self.weight, self.bias, axis=self.axis, padding=self.padding, form=form)
        x, weight = autocast(x, self.weight)
        out = multiply(x, self._matrix_of(weight), dim=dim)
        return out if self.bias is None else out + self.bias.to(out.dtype).view(-1, 1, 1)

    def _matrix_of(self, weight: Tensor) -> Tensor:
        """Return the kernel's matrix; build it only if the kernel, its precision or its device has changed."""
        if self._matrix is None or not _is_same(self._matrix_taps, weight):
            # Leave inference mode: a later backward pass could not use a tensor that was made in it.
            with torch.inference_mode(mode=False), torch.no_grad():
                self._matrix_taps = weight.detach().clone()
                matrix = toeplitz(diagonals_of(self._matrix_taps.flatten(1), self._length, padding=self.padding))
                # `multiply` transposes the matrix along the width, so there its transpose is contiguous.
                self._matrix = matrix.contiguous() if self.axis == "height" else matrix.mT.contiguous().mT
        return self._matrix

    def extra_repr(self) -> str:
        """Show the settings of this instance when the model is printed."""
        return f"{self.weight.shape[0]}, taps={max(self.weight.shape[2:])}, axis={self.axis!r}, form={self.form!r}"


def _is_same(old: Tensor | None, new: Tensor) -> bool:
    """Compare the values: quantizers write through `.data`, and torch does not record such a change."""
    return old is not None and (old.dtype, old.device) == (new.dtype, new.device) and torch.equal(old, new)
