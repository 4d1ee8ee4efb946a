"""Which form of a convolution along an axis is the fastest: what `benchmarks/circular.py` timed, as a table."""

from typing import Literal, get_args

from torch import Tensor

Padding = Literal["circular", "zeros"]
Form = Literal["auto", "conv", "matmul", "fft"]
FORMS: tuple[Form, ...] = get_args(Form)

# From how many positions on the matmul form wins, for a single image and for more; float32 on a CPU with AVX-512, in
# inference as in training, for constant kernels as for those that come with the call. Below, the product of small
# matrices is slow.
_SMALLEST, _SMALLEST_OF_BATCH = 8, 10


def choose_form(x: Tensor, *, dim: int) -> Literal["conv", "matmul"]:
    """Choose the form for a depthwise kernel along `dim` (2 or 3) of a (B, C, H, W) map.

    Maps in channels-last order stay in the conv form: the product must copy them and returns them in the usual order,
    so that whole networks lose what the operator gains. The spectral form never won. On other devices than CPUs nothing
    has been timed yet, and the papers' form runs.
    """
    smallest = _SMALLEST if x.shape[0] == 1 else _SMALLEST_OF_BATCH
    if x.shape[dim] < smallest or x.device.type != "cpu":
        return "conv"
    # Halves of a map's channels are not contiguous either, but each of their images is.
    channels_last = x.stride(1) == 1 and x.shape[1] > 1
    return "conv" if channels_last else "matmul"
