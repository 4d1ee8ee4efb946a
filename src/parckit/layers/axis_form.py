"""Which form of a convolution along an axis is the fastest: what `benchmarks/circular.py` timed, as a table."""

from typing import Literal, get_args

import torch
from torch import Tensor

Padding = Literal["circular", "zeros"]
Form = Literal["auto", "conv", "matmul", "fft"]
FORMS: tuple[Form, ...] = get_args(Form)

# From how many positions on the matmul form wins, for float32 on a CPU with AVX-512. Below, the library's product of
# small matrices is slow.
_SMALLEST = 8
# Maps in channels-last order must be copied for the product, which pays only where the gradients of a depthwise
# convolution are slower still: by padding, then for dimension 2 (height) and 3 (width).
_CHANNELS_LAST: dict[Padding, dict[int, int]] = {"circular": {2: 16, 3: 14}, "zeros": {2: 8, 3: 8}}


def choose_form(x: Tensor, *, dim: int, padding: Padding) -> Literal["conv", "matmul"]:
    """Choose the form for a depthwise kernel along `dim` (2 or 3) of a (B, C, H, W) map.

    The table holds for constant kernels and for those that come with the call. The spectral form never won; on other
    devices than CPUs nothing has been timed yet, and the papers' form runs.
    """
    length = x.shape[dim]
    if length < _SMALLEST or x.device.type != "cpu":
        return "conv"
    # Halves of a map's channels are not contiguous either, but each of their images is.
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    if not channels_last:
        return "matmul"
    training = x.requires_grad and torch.is_grad_enabled()
    return "matmul" if training and length >= _CHANNELS_LAST[padding][dim] else "conv"
