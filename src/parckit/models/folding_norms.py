"""Fold a BatchNorm2d into the convolution directly before or after it, in any model.

In evaluation, BatchNorm computes s * x + t per channel, with s = weight / sqrt(var + eps) and t = bias - s * mean:

* Convolution, then BatchNorm: the kernel becomes s * K, the bias s * b + t.
* BatchNorm, then convolution without padding: the kernel becomes K * s over its input channels. The bias becomes b plus
  the sum of K * t over taps and input channels. A convolution with padding cannot be folded like this, because it sees
  zeros at the border, not t.

The trace of a forward pass shows which convolution this is: norm and convolution ran once, and no other operator read
the tensor between them.
"""

from typing import cast

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn

from parckit.layers import CircularConv2d, OversizedConv2d, ParCConv2d
from parckit.models.folding_trace import Trace

Conv = nn.Conv2d | CircularConv2d | OversizedConv2d

# Only these exact classes: a subclass may use its weights in another way, as weight-standardised convolutions do.
_CONVS = (nn.Conv2d, Conv2dSame, CircularConv2d, OversizedConv2d, ParCConv2d)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def fold_norms(model: nn.Module, trace: Trace) -> None:
    """Fold every norm that can be folded, in place; if a norm contains an activation, the activation stays."""
    # Find the convolutions that can be folded, by the id of their output or of their input.
    conv_of_output: dict[int, Conv | ParCConv2d] = {}
    conv_of_input: dict[int, nn.Conv2d] = {}
    for module in model.modules():
        call = trace.only_call(module)
        if call and _is_plain(module, trace) and trace.is_read_once(call.out):
            conv_of_output[id(call.out)] = cast("Conv | ParCConv2d", module)
        if call and type(module) is nn.Conv2d and _pads_nothing(module) and trace.is_read_once(call.x):
            conv_of_input[id(call.x)] = module
    # Fold the norms.
    replacements: dict[nn.Module, nn.Module] = {}
    for norm in model.modules():
        call = trace.only_call(norm)
        if not call or type(norm) not in _NORMS or not cast("nn.BatchNorm2d", norm).track_running_stats:
            continue
        norm = cast("nn.BatchNorm2d", norm)
        if id(call.x) in conv_of_output:
            _scale_output(conv_of_output[id(call.x)], *affine(norm))
            replacements[norm] = _activation(norm)
        elif id(call.out) in conv_of_input and type(norm) is nn.BatchNorm2d:
            _scale_input(conv_of_input[id(call.out)], *affine(norm))
            replacements[norm] = nn.Identity()
    # Replace the folded norms under every name that they have in the model.
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if module in replacements:
            model.set_submodule(path, replacements[module])


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return (scale, shift) per channel of a BatchNorm in evaluation."""
    mean, var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = torch.rsqrt(var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
        return scale, norm.bias - scale * mean
    return scale, -scale * mean


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    """Return what remains of a folded norm: its dropout and activation, if it has them."""
    if isinstance(norm, BatchNormAct2d):
        return nn.Sequential(cast("nn.Module", norm.drop), cast("nn.Module", norm.act))
    return nn.Identity()


def _is_plain(module: nn.Module, trace: Trace) -> bool:
    """Tell whether the module does what its class says: nothing inside is hooked, shared or parametrized."""
    if type(module) is ParCConv2d and not type(module.height) is type(module.width) is CircularConv2d:
        return False
    return type(module) in _CONVS and all(trace.only_call(part) for part in module.modules())


def _pads_nothing(conv: nn.Conv2d) -> bool:
    return conv.padding in {(0, 0), "valid"}


def _scale_output(conv: Conv | ParCConv2d, scale: Tensor, shift: Tensor) -> None:
    """Make a convolution return scale * output + shift, per output channel."""
    if isinstance(conv, ParCConv2d):
        scales, shifts = scale.split(conv.halves), shift.split(conv.halves)
        for half, half_scale, half_shift in zip((conv.height, conv.width), scales, shifts, strict=True):
            _scale_output(half, half_scale, half_shift)
        return
    bias = shift if conv.bias is None else shift + scale * conv.bias
    _set_constants(conv, conv.weight * scale.view(-1, 1, 1, 1), bias)


def _scale_input(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    """Make a convolution without padding apply scale * input + shift first, per input channel."""
    per_group = conv.weight.unflatten(0, (conv.groups, -1))  # (groups, out / groups, in / groups, height, width)
    shifted = torch.einsum("goihw,gi->go", per_group, shift.view(conv.groups, -1)).flatten()
    weight = torch.einsum("goihw,gi->goihw", per_group, scale.view(conv.groups, -1)).flatten(0, 1)
    _set_constants(conv, weight, shifted if conv.bias is None else conv.bias + shifted)


def _set_constants(conv: Conv, weight: Tensor, bias: Tensor) -> None:
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
