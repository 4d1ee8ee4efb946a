"""Oversized convolution: a kernel along one axis that covers the whole map from every position (ParCNetV2, 3.2)."""

from typing import final

from jaxtyping import Float
from torch import Tensor

from parckit.layers.along_axis import Axis, AxisConv2d, resize_along


@final
class OversizedConv2d(AxisConv2d):
    """Depthwise convolution along one axis with about twice as many taps as the map is long (ParCNetV2, 3.2).

    The zeros outside tell it where it is, so that it needs no position embedding.

    Args:
        dim: channels.
        length: taps that are learned, odd; 2N - 1 cover a map of N positions from each of them.
        axis: the axis to convolve along.
        interpolate: resize the kernel to 2N - 1 taps for a map of N positions; otherwise it stays as learned, and maps
            of more than (length + 1) / 2 positions are not wholly covered.

    Raises:
        ValueError: if `length` is even.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, dim: int, length: int, *, axis: Axis, interpolate: bool = False) -> None:
        if length % 2 == 0:
            raise ValueError(f"length={length}: must be odd, the middle tap stands at the position itself")
        super().__init__(dim, length, axis=axis, padding="zeros")
        self.interpolate = interpolate

    def weight_at(self, length: int) -> Float[Tensor, "c_out c_in kh kw"]:
        """Return the kernel as learned, or interpolated to `2 * length - 1` taps."""
        return resize_along(self.weight, 2 * length - 1, axis=self.axis) if self.interpolate else self.weight
