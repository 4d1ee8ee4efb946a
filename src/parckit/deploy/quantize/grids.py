"""Grids: the numbers that a tensor can have after its quantization."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

LARGEST_STEP = 127
"""Largest step of a weight. Grids of weights are symmetric, so -128 stays unused."""
_SMALLEST_SCALE = float(np.finfo(np.float32).tiny)
"""Scale of tensors that are zero everywhere."""
_MOST_BIAS = 2.0**31 - 2**8
"""Largest bias in steps that int32 can store; the rest leaves room for rounding in float32."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Grid:
    """The numbers `scale * (step - zero_point)`, for whole steps of a type.

    Attributes:
        scale: a number, or one for every channel.
        zero_point: step of the number zero, of the type of the steps; as many as scales.
    """

    scale: NDArray[np.float32]
    zero_point: NDArray[np.generic]

    def quantize(self, numbers: NDArray[np.float32], *, axis: int | None = None) -> NDArray[np.generic]:
        """Return the steps of numbers. Scales lie along `axis`."""
        limits = np.iinfo(str(self.zero_point.dtype))
        scale, zero = self._along(self.scale, numbers, axis), self._along(self.zero_point, numbers, axis)
        steps = np.round(numbers.astype(np.float64) / scale) + zero
        return np.clip(steps, limits.min, limits.max).astype(self.zero_point.dtype)

    def round(self, numbers: NDArray[np.float32], *, axis: int | None = None) -> NDArray[np.float32]:
        """Return the numbers of the grid that are nearest."""
        scale, zero = self._along(self.scale, numbers, axis), self._along(self.zero_point, numbers, axis)
        steps = self.quantize(numbers, axis=axis).astype(np.float64)
        return ((steps - zero) * scale).astype(np.float32)

    def widened_for(self, bias: NDArray[np.float32], activations: "Grid") -> "Grid":
        """Return these weights' grid with scales so large that the biases fit into int32."""
        least = np.abs(bias.astype(np.float64)) / (_MOST_BIAS * float(activations.scale))
        least = least if self.scale.ndim else least.max()
        return replace(self, scale=np.maximum(self.scale, least).astype(np.float32))

    @staticmethod
    def _along(numbers: NDArray[np.generic], like: NDArray[np.float32], axis: int | None) -> NDArray[np.float64]:
        if not numbers.ndim:
            return numbers.astype(np.float64)
        shape = [1] * like.ndim
        shape[axis or 0] = -1
        return numbers.astype(np.float64).reshape(shape)


def activation_grid(ends: tuple[float, float], *, bits: int) -> Grid:
    """Return the unsigned grid of an activation's range, which contains zero. Zero is a number of the grid."""
    lowest, highest = min(ends[0], 0.0), max(ends[1], 0.0)
    steps = 2**bits - 1
    scale = np.float32(max((highest - lowest) / steps, _SMALLEST_SCALE))
    zero = np.clip(np.round(-lowest / float(scale)), 0, steps)
    return Grid(scale=np.array(scale), zero_point=np.array(zero, np.uint8 if bits == 8 else np.uint16))


def weight_grid(weights: NDArray[np.float32], *, axis: int | None, scales: Sequence[float] | None = None) -> Grid:
    """Return the symmetric int8 grid of weights.

    Args:
        weights: the weights.
        axis: axis of their output channels, which have a scale each; None for one scale.
        scales: the scales, if they are known; otherwise the largest weight becomes the largest step.
    """
    others = None if axis is None else tuple(other for other in range(weights.ndim) if other != axis % weights.ndim)
    largest = np.abs(weights).max(axis=others) / LARGEST_STEP if scales is None else np.array(scales)
    scale = np.maximum(largest, _SMALLEST_SCALE).astype(np.float32)
    return Grid(scale=scale, zero_point=np.zeros(scale.shape, np.int8))


def bias_grid(activations: Grid, weights: Grid) -> Grid:
    """Return the int32 grid of biases: its scale is that of the products of activations and weights."""
    scale = (activations.scale * weights.scale).astype(np.float32)
    return Grid(scale=scale, zero_point=np.zeros(scale.shape, np.int32))
