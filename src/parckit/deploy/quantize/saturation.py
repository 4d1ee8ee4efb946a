"""Scales of int8 weights with which no product saturates on processors without VNNI.

On such a processor (AVX2, or AVX-512 without VNNI) ONNX Runtime and OpenVINO multiply uint8 activations by int8 weights
with the instruction `vpmaddubsw`. It adds the products of two neighbouring input channels in 16 bits and cuts off what
does not fit: 255 * 127 + 255 * 127 = 64,770, but the largest number is 32,767. The usual advice is to leave one bit of
all weights unused. That is not needed. Only pairs whose weights have the same sign can exceed 16 bits, so it is enough
that the sum of each pair stays within 127 steps. Rounding adds one step at most, and 255 * 128 = 32,640 still fits.

The pairs are the input channels (0, 1), (2, 3) and so on, at one tap of the kernel. Where the number of channels is
odd, ONNX Runtime pairs the numbers of an output channel in the order (height, width, channels) of the kernel.
Depthwise convolutions multiply in 32 bits, so they need no other scale. `benchmarks/int8_saturation.py` shows all this.
"""

from collections.abc import Mapping

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from parckit.deploy.quantize.constants import constant_of
from parckit.deploy.quantize.grids import LARGEST_STEP
from parckit.deploy.quantize.qdq import WEIGHT_AXES, is_stack, weight_axis
from parckit.deploy.quantize.scheme import Bits

LARGEST_PAIR = 128
"""Largest sum of two neighbouring weights, steps: 255 * 128 fits into 16 bits."""


def weight_scales_without_saturation(model: ir.Model, bits: Mapping[str, Bits]) -> dict[str, tuple[float, ...]]:
    """Return the scales of the weights of all nodes that are quantized, by name of the weights."""
    scales: dict[str, tuple[float, ...]] = {}
    for node in model.graph:
        if node.op_type not in WEIGHT_AXES or not bits.get(node.name or ""):
            continue
        value, weights = node.inputs[1], constant_of(node.inputs[1])
        if value is not None and weights is not None and not is_stack(node, weights):
            axis = weight_axis(node) % weights.ndim
            scales[value.name or ""] = tuple(scales_without_saturation(weights, axis=axis).tolist())
    return scales


def scales_without_saturation(weights: NDArray[np.float32], *, axis: int = 0) -> NDArray[np.float32]:
    """Return a scale for every output channel with which int8 weights never saturate.

    Args:
        weights: weights of a convolution, (out, in of a group, height, width), or of a matrix product.
        axis: axis of the output channels. The input channels lie along the axis 0 or 1 that is left.

    Returns:
        The scales, `(out,)`. A channel of zeros has the scale 0.
    """
    rows = np.moveaxis(weights, axis, 0)
    largest = np.abs(rows).reshape(len(rows), -1).max(axis=1)
    if rows.shape[1] > 1:
        # (out, ..., in): the channels of one tap are neighbours, and the taps follow one another.
        taps = np.moveaxis(rows, 1, -1)
        orders = [taps] if rows.shape[1] % 2 == 0 else [taps, taps.reshape(len(rows), -1)]
        largest = np.max([largest, *map(_largest_pair, orders)], axis=0)
    return (largest / LARGEST_STEP).astype(np.float32)


def _largest_pair(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the largest sum of two neighbours (0, 1), (2, 3), ... along the last axis, for every output channel."""
    even = rows[..., : rows.shape[-1] // 2 * 2]
    sums = np.abs(even[..., ::2] + even[..., 1::2])
    return sums.reshape(len(rows), -1).max(axis=1, initial=0)
