"""The definition of a convolution along an axis, written out tap by tap."""

import torch
from torch import Tensor

DIM = {"height": 2, "width": 3}


def axis_conv_reference(x: Tensor, weight: Tensor, *, axis: str, padding: str) -> Tensor:
    """Return the depthwise convolution of a (B, C, H, W) map in float64. Slow, but easy to check by reading."""
    dim, taps = DIM[axis], weight.double().flatten(1)
    length, count = x.shape[dim], taps.shape[1]
    across = (-1, 1) if axis == "height" else (1, -1)
    out = torch.zeros_like(x, dtype=torch.float64)
    for k in range(count):
        source = torch.arange(length) + (k if padding == "circular" else k - count // 2)
        counts = torch.ones(length) if padding == "circular" else (source >= 0) & (source < length)
        shifted = x.double().index_select(dim, source % length)
        out += taps[:, k].view(-1, 1, 1) * shifted * counts.double().view(across)
    return out
