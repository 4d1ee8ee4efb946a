"""Choose the faster form of a convolution along an axis, by a table of what `benchmarks/circular.py` timed."""

from typing import Literal, get_args

import torch
from torch import Tensor

from parckit.layers.tracing import is_open

Padding = Literal["circular", "zeros"]
Form = Literal["auto", "conv", "matmul"]
FORMS: tuple[Form, ...] = get_args(Form)

# From this number of positions on, the matmul form is faster, in float32 on a CPU with AVX-512. The key is the padding
# and the dimension; the value is for the forward pass alone, then for forward and backward. Products of smaller
# matrices are slow. Along the width the gradients of the conv form are slow, and with zeros its forward pass too.
_SMALLEST_OF_ONE: dict[tuple[Padding, int], tuple[int, int]] = {
    ("circular", 2): (8, 14),
    ("circular", 3): (8, 8),
    ("zeros", 2): (8, 8),
    ("zeros", 3): (8, 8),
}
_SMALLEST_OF_BATCH: dict[tuple[Padding, int], tuple[int, int]] = {
    ("circular", 2): (14, 14),
    ("circular", 3): (14, 8),
    ("zeros", 2): (16, 8),
    ("zeros", 3): (8, 8),
}


def choose_form(x: Tensor, *, dim: int, padding: Padding) -> Literal["conv", "matmul"]:
    """Choose the form for a depthwise kernel along `dim` (2 or 3) of a (B, C, H, W) map.

    The choice is the same for constant and for learned kernels. Maps in channels-last order use the conv form: the
    matrix product has to copy them and returns them in the usual order, so that the whole network would lose more than
    this operator gains. Nothing has been timed on other devices than CPUs; there the papers' conv form runs.

    A trace of `torch.jit` computes the forward pass alone, so gradients do not count there. torch checks a trace
    without them, and would find another form. If `torch.export` leaves the length open, the conv form is exported.
    """
    if is_open(x.shape[dim]):
        return "conv"
    alone, with_backward = (_SMALLEST_OF_ONE if x.shape[0] == 1 else _SMALLEST_OF_BATCH)[padding, dim]
    smallest = with_backward if x.requires_grad and torch.is_grad_enabled() and not torch.jit.is_tracing() else alone
    if x.shape[dim] < smallest or x.device.type != "cpu":
        return "conv"
    # Halves of a map's channels are not contiguous either, but each of their images is.
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    return "conv" if channels_last else "matmul"
