"""The forms in which convolutions along an axis leave torch: operators that every runtime has, chosen by timings.

With the axis of length n:

* *conv*: one convolution with n - 1 implied zeros at both ends. A circular one gets its taps twice, but one, as its
  kernel: out[i] = sum_j w[(j - i) mod n] x[j], where j - i goes from -(n - 1) to n - 1. Nothing is appended to the map,
  so that engines which keep maps in blocks of channels stay in them, and those that skip the zeros do no more work.
* *matmul*: one product with the matrix of each channel. The file holds the taps; the graph lays them out as matrices,
  which engines do once, when they load it.

ONNX Runtime 1.31, CPU with AVX-512, one thread: microseconds that one operator adds between two 1x1 convolutions, along
the height | the width. Appended ends are the papers' circular convolution.

    positions x channels    appended ends         conv       matmul
         56 x 48                             329 | 759    284 | 285
         32 x 96               331 | 281     148 | 274    133 | 139
         28 x 96                              90 | 161    105 | 100
         16 x 128               77 |  83      24 |  44     50 |  52
          8 x 160               17 |  24       5 |   7     32 |  34
"""

import torch
from torch import nn

from parckit.layers import AxisConv2d, ConstantAxisConv2d, Form

_MATMUL_FROM = 24
"""Positions from which a pair of products, height then width, is faster than a pair of convolutions."""


def set_axis_forms(model: nn.Module, form: Form) -> None:
    """Give every convolution along an axis the form in which it is to leave; `"auto"` is the faster in ONNX Runtime.

    Kernels that are not depthwise, and those that `parckit.fuse` left learned, leave as convolutions.
    """
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if isinstance(module, AxisConv2d):
            module.form = "conv"
        elif isinstance(module, ConstantAxisConv2d):
            if _leaves_as_matmul(module, form):
                module.form = "matmul"
            else:
                model.set_submodule(path, _as_conv(module))


def _leaves_as_matmul(conv: ConstantAxisConv2d, form: Form) -> bool:
    taps = max(conv.weight.shape[2:])
    # Positions that the taps reach, where there are zeros outside: all of the axis, if the kernel covers it.
    positions = taps if conv.padding == "circular" else (taps + 1) // 2
    return conv.weight.shape[1] == 1 and (form == "matmul" or (form == "auto" and positions >= _MATMUL_FROM))


@torch.no_grad()
def _as_conv(axis_conv: ConstantAxisConv2d) -> nn.Conv2d:
    weight = axis_conv.weight
    if axis_conv.padding == "circular":
        dim = 2 if axis_conv.axis == "height" else 3
        weight = torch.cat((weight.narrow(dim, 1, weight.shape[dim] - 1), weight), dim)
    chans, per_group, height, width = weight.shape
    conv = nn.Conv2d(chans, chans, (height, width), padding=(height // 2, width // 2), groups=chans // per_group)
    conv.weight, conv.bias = nn.Parameter(weight), axis_conv.bias
    return conv
