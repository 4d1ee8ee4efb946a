"""Which form of a convolution along an axis is the fastest: what `benchmarks/circular.py` timed, as a table."""

from typing import Literal, get_args

import torch
from torch import Tensor

Padding = Literal["circular", "zeros"]
Form = Literal["auto", "conv", "matmul", "fft"]
FORMS: tuple[Form, ...] = get_args(Form)

# From how many positions on the matmul form wins, float32 on a CPU with AVX-512. Below, the product of small matrices
# is slow. For one image one number serves all; for more, with (padding, dim) as key, there is one for the forward pass
# alone and one for forward and backward: along the width the convolution's gradients are slow, and with zeros its
# forward pass too.
_SMALLEST_OF_ONE = 8
_SMALLEST_OF_BATCH: dict[tuple[Padding, int], tuple[int, int]] = {
    ("circular", 2): (10, 10),
    ("circular", 3): (10, 8),
    ("zeros", 2): (16, 8),
    ("zeros", 3): (8, 8),
}


def choose_form(x: Tensor, *, dim: int, padding: Padding) -> Literal["conv", "matmul"]:
    """Choose the form for a depthwise kernel along `dim` (2 or 3) of a (B, C, H, W) map.

    Whether the kernel is constant changes nothing. Maps in channels-last order stay in the conv form: the product must
    copy them and returns them in the usual order, so that whole networks lose what the operator gains. The spectral
    form wins nowhere by a margin that lasts. On other devices than CPUs nothing has been timed yet, and the papers'
    form runs.
    """
    if x.shape[0] == 1:
        smallest = _SMALLEST_OF_ONE
    else:
        alone, with_backward = _SMALLEST_OF_BATCH[padding, dim]
        smallest = with_backward if x.requires_grad and torch.is_grad_enabled() else alone
    if x.shape[dim] < smallest or x.device.type != "cpu":
        return "conv"
    # Halves of a map's channels are not contiguous either, but each of their images is.
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    return "conv" if channels_last else "matmul"
