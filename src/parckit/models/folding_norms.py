"""Fold every BatchNorm2d into the one convolution that stands before or behind it, in any model.

BatchNorm in evaluation is s * x + t per channel, s = weight / sqrt(var + eps), t = bias - s * mean:

* convolution then BatchNorm: kernel s * K, bias s * b + t.
* BatchNorm then a convolution that pads nothing: kernel K * s over its input channels, bias b + K t summed over taps
  and input channels. One that pads would meet zeros at the border, not t.

Which convolution that is, the trace says: both ran once, and nothing else read the tensor between them.
"""

from typing import cast

import torch
from timm.layers import BatchNormAct2d, Conv2dSame
from torch import Tensor, nn

from parckit.layers import CircularConv2d, OversizedConv2d, ParCConv2d
from parckit.models.folding_trace import Trace

Conv = nn.Conv2d | CircularConv2d | OversizedConv2d

# Exact types: a subclass may do something else with the same weights, as weight-standardised convolutions do.
_CONVS = (nn.Conv2d, Conv2dSame, CircularConv2d, OversizedConv2d, ParCConv2d)
_NORMS = (nn.BatchNorm2d, BatchNormAct2d)


def fold_norms(model: nn.Module, trace: Trace) -> None:
    """Fold what can be folded, in place; the activation of a norm that has one stays."""
    before: dict[int, Conv | ParCConv2d] = {}
    behind: dict[int, nn.Conv2d] = {}
    for module in model.modules():
        call = trace.only_call(module)
        if call and _is_plain(module, trace) and trace.is_read_once(call.out):
            before[id(call.out)] = cast("Conv | ParCConv2d", module)
        if call and type(module) is nn.Conv2d and _pads_nothing(module) and trace.is_read_once(call.x):
            behind[id(call.x)] = module
    rests: dict[nn.Module, nn.Module] = {}
    for norm in model.modules():
        call = trace.only_call(norm)
        if not call or type(norm) not in _NORMS or not cast("nn.BatchNorm2d", norm).track_running_stats:
            continue
        norm = cast("nn.BatchNorm2d", norm)
        if id(call.x) in before:
            _scale_output(before[id(call.x)], *affine(norm))
            rests[norm] = _activation(norm)
        elif id(call.out) in behind and type(norm) is nn.BatchNorm2d:
            _scale_input(behind[id(call.out)], *affine(norm))
            rests[norm] = nn.Identity()
    for path, module in [*model.named_modules(remove_duplicate=False)]:
        if module in rests:
            model.set_submodule(path, rests[module])


def affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Return BatchNorm in evaluation as (scale, shift) per channel."""
    mean, var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = torch.rsqrt(var + norm.eps)
    if norm.affine:
        scale = scale * norm.weight
        return scale, norm.bias - scale * mean
    return scale, -scale * mean


def _activation(norm: nn.BatchNorm2d) -> nn.Module:
    if isinstance(norm, BatchNormAct2d):
        return nn.Sequential(cast("nn.Module", norm.drop), cast("nn.Module", norm.act))
    return nn.Identity()


def _is_plain(module: nn.Module, trace: Trace) -> bool:
    """Tell whether the module computes what its class says: nothing inside is hooked, shared or parametrized."""
    if type(module) is ParCConv2d and not type(module.height) is type(module.width) is CircularConv2d:
        return False
    return type(module) in _CONVS and all(trace.only_call(part) for part in module.modules())


def _pads_nothing(conv: nn.Conv2d) -> bool:
    return conv.padding in {(0, 0), "valid"}


def _scale_output(conv: Conv | ParCConv2d, scale: Tensor, shift: Tensor) -> None:
    if isinstance(conv, ParCConv2d):
        parts = (each.split(conv.halves) for each in (scale, shift))
        for half, s, t in zip((conv.height, conv.width), *parts, strict=True):
            _scale_output(half, s, t)
        return
    bias = shift if conv.bias is None else shift + scale * conv.bias
    _set_constants(conv, conv.weight * scale.view(-1, 1, 1, 1), bias)


def _scale_input(conv: nn.Conv2d, scale: Tensor, shift: Tensor) -> None:
    per_group = conv.weight.unflatten(0, (conv.groups, -1))  # (groups, out / groups, in / groups, height, width)
    shifted = torch.einsum("goihw,gi->go", per_group, shift.view(conv.groups, -1)).flatten()
    weight = torch.einsum("goihw,gi->goihw", per_group, scale.view(conv.groups, -1)).flatten(0, 1)
    _set_constants(conv, weight, shifted if conv.bias is None else conv.bias + shifted)


def _set_constants(conv: Conv, weight: Tensor, bias: Tensor) -> None:
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
