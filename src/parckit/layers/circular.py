"""Position-aware circular convolution: along a whole axis whose ends are joined (ParC-Net, section 3.1)."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers.along_axis import Axis, AxisConv2d, along, axis_dim, resize_along

torch.fx.wrap("resize_along")


@final
class CircularConv2d(AxisConv2d):
    """Circular convolution along one axis, with a kernel as long as the map (ParC-Net, section 3.1).

    Args:
        dim: channels.
        length: number of learned taps; the kernel is interpolated if the map's axis has another length.
        axis: the axis to convolve along.
        groups: `dim` (default) is depthwise, 1 is dense.
        bias: add one number per channel.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis, groups: int | None = None, bias: bool = False) -> None:
        super().__init__(dim, length, axis=axis, padding="circular", groups=groups, bias=bias)

    def weight_at(self, length: int) -> Float[Tensor, "c_out c_in kh kw"]:
        """Return the kernel interpolated to `length`."""
        return resize_along(self.weight, length, axis=self.axis)


@final
class PositionEmbedding(nn.Module):
    """A learned vector per position along one axis, interpolated to the map's size and added (ParC-Net, section 3.1).

    A circular convolution alone treats all positions alike; the embedding makes them different.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis) -> None:
        super().__init__()
        self.axis: Axis = axis
        self.weight = nn.Parameter(torch.empty(1, dim, *along(length, axis)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draw from the standard normal distribution, as the official models do (std 1, not the usual 0.02)."""
        nn.init.normal_(self.weight)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Add the embedding at the size of `x`."""
        return x + resize_along(self.weight, x.shape[axis_dim(self.axis)], axis=self.axis)
