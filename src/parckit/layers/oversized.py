"""Oversized convolution: a kernel along one axis that covers the whole map from every position (ParCNetV2, 3.2)."""

from typing import final

import torch
from jaxtyping import Float
from torch import Tensor

from parckit.layers.along_axis import Axis, AxisConv2d, resize_along

torch.fx.wrap("resize_along")


@final
class OversizedConv2d(AxisConv2d):
    """Depthwise convolution along one axis with about twice as many taps as the map is long (ParCNetV2, 3.2).

    It needs no position embedding: the zeros beyond the ends of the map make positions different.

    Args:
        dim: channels.
        length: number of learned taps, odd; with 2N - 1 taps, every position of a map of N positions sees the whole
            map.
        axis: the axis to convolve along.
        interpolate: resize the kernel to 2N - 1 taps for a map of N positions. Without it, the kernel stays as learned,
            and does not cover the whole map if the map has more than (length + 1) / 2 positions.

    Raises:
        ValueError: if `length` is even.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis, interpolate: bool = False) -> None:
        if length % 2 == 0:
            raise ValueError(f"length={length}: must be odd, so that the kernel has a middle tap")
        super().__init__(dim, length, axis=axis, padding="zeros")
        self.interpolate = interpolate

    def weight_at(self, length: int) -> Float[Tensor, "c_out c_in kh kw"]:
        """Return the kernel as learned, or interpolated to `2 * length - 1` taps."""
        return resize_along(self.weight, 2 * length - 1, axis=self.axis) if self.interpolate else self.weight
