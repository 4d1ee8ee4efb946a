"""The forms in which convolutions along an axis are exported. They use only operators that every runtime has.

For an axis with n positions, the forms are:

* *conv*: one convolution with zero padding n - 1 at both ends. A circular convolution is
  out[i] = sum_j w[(j - i) mod n] x[j], where j - i goes from -(n - 1) to n - 1. So its kernel has 2 n - 1 taps: all
  taps except the first, then all taps. Nothing is appended to the map. Therefore engines that store maps in blocks of
  channels need not convert them, and engines that skip zero padding do no additional work.
* *matmul*: one matrix product per channel. The file stores the taps, and the graph builds the matrices from them.
  Engines do this once, when they load the file.

The table shows the microseconds that one operator adds between two 1x1 convolutions, along the height | along the
width, in ONNX Runtime 1.31 on a CPU with AVX-512 and one thread. "Circular padding" is the papers' form: the map is
extended with its own ends before the convolution.

    positions x channels  circular padding        conv       matmul
         56 x 48                             329 | 759    284 | 285
         32 x 96               331 | 281     148 | 274    133 | 139
         28 x 96                              90 | 161    105 | 100
         16 x 128               77 |  83      24 |  44     50 |  52
          8 x 160               17 |  24       5 |   7     32 |  34
"""

import torch
from torch import nn

from parckit.layers import AxisConv2d, ConstantAxisConv2d, Form

PROGRAM_AUTO: Form = "conv"
"""What `"auto"` stands for in torch programs: their engines have fast convolutions."""
_MATMUL_FROM = 24
"""With this many positions or more, two matmuls (height, then width) are faster than two convolutions."""


def set_axis_forms(model: nn.Module, form: Form) -> None:
    """Set the form in which every convolution along an axis is exported. `"auto"` is the faster one in ONNX Runtime.

    Convolutions that are not depthwise, and those whose kernel `parckit.fuse` could not make constant, always become
    `"conv"`.
    """
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if isinstance(module, AxisConv2d):
            module.form = "conv"
        elif isinstance(module, ConstantAxisConv2d):
            if _becomes_matmul(module, form):
                module.form = "matmul"
            else:
                model.set_submodule(path, _as_conv(module))


def count_matmuls(model: nn.Module, form: Form) -> int:
    """Return how many convolutions of a fused network become products in a form."""
    return sum(_becomes_matmul(module, form) for module in model.modules() if isinstance(module, ConstantAxisConv2d))


def _becomes_matmul(conv: ConstantAxisConv2d, form: Form) -> bool:
    taps = max(conv.weight.shape[2:])
    # A zero-padded kernel that covers an axis with n positions has 2 n - 1 taps; a circular one has n.
    positions = taps if conv.padding == "circular" else (taps + 1) // 2
    return conv.weight.shape[1] == 1 and (form == "matmul" or (form == "auto" and positions >= _MATMUL_FROM))


@torch.no_grad()
def _as_conv(axis_conv: ConstantAxisConv2d) -> nn.Conv2d:
    """Return the same convolution in the *conv* form of this module's docstring."""
    weight = axis_conv.weight
    if axis_conv.padding == "circular":
        dim = 2 if axis_conv.axis == "height" else 3
        weight = torch.cat((weight.narrow(dim, 1, weight.shape[dim] - 1), weight), dim)
    chans, per_group, height, width = weight.shape
    conv = nn.Conv2d(chans, chans, (height, width), padding=(height // 2, width // 2), groups=chans // per_group)
    conv.weight, conv.bias = nn.Parameter(weight), axis_conv.bias
    return conv
