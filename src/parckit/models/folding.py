"""Fold a trained model into constants for one input size: `fuse(model, size=(H, W))`.

The algebra, exact up to rounding; BatchNorm in evaluation is s * x + t per channel, s = weight / sqrt(var + eps),
t = bias - s * mean:

* convolution then BatchNorm: kernel s * K, bias s * b + t.
* BatchNorm then 1x1 convolution (nothing is padded): kernel K * s on its input channels, bias b + K t.
* ParC branch x + k2 ⊛ (pe2 + k1 ⊛ (s * (x + pe1) + t)), with k1, k2 and the embeddings at the map's size. Circular
  convolution is linear and per channel, so s moves into k1, and the rest does not depend on x:
      x + k2 ⊛ ((s * k1) ⊛ x) + k2 ⊛ k1 ⊛ (s * pe1) + k2 ⊛ pe2 + k2 ⊛ k1 ⊛ t.
  Where an argument is constant along a kernel's axis, ⊛ multiplies it by the sum of the taps. So the last term is a
  number per channel, k2's bias; the first constant varies along k1's axis alone, the second along k2's: two vectors
  are kept, no map, and none at all for a branch without embeddings.

A block's rule is registered with `_fold.register`; a module without one is folded child by child.
"""

import copy
from collections.abc import Callable, Sequence
from functools import singledispatch
from typing import cast

import torch
from jaxtyping import Float
from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.layers import (
    ChannelGate,
    CircularConv2d,
    FeedForward,
    ParCBranch,
    ParCStage,
    PositionEmbedding,
    circular_conv,
    resize_along,
)

Sizes = dict[nn.Module, tuple[int, int]]
"""ParC operator -> (height, width) of the map it gets."""


class Fused(nn.Module):
    """A folded model: evaluation only, for images of one size.

    Raises:
        ValueError: from `forward`, for images of another size; from `train(True)`.

    Shape:
        (B, C, H, W) -> what the original model gives, H and W as in `size`
    """

    def __init__(self, model: nn.Module, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.size = size
        self.eval()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor | list[Tensor]:
        """Run the folded model; one made with `features_only` gives a list."""
        if tuple(x.shape[-2:]) != self.size:
            raise ValueError(f"x of size {tuple(x.shape[-2:])}: this model was fused for {self.size}")
        return self.model(x)

    def train(self, mode: bool = True) -> "Fused":
        """Refuse to leave evaluation: there is no norm left to train."""
        if mode:
            raise ValueError("mode=True: a fused model cannot be trained; train the original and fuse it again")
        return super().train(mode)


class FusedParCBranch(nn.Module):
    """A ParC branch at one size: x + conv2(conv1(x)) + constants.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, conv1: CircularConv2d, conv2: CircularConv2d, *, constants: Sequence[Tensor] = ()) -> None:
        super().__init__()
        self.conv1 = conv1
        self.conv2 = conv2
        self.constants = nn.ParameterList(nn.Parameter(constant, requires_grad=False) for constant in constants)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over the whole map."""
        x = x + self.conv2(self.conv1(x))
        for constant in self.constants:
            x = x + constant
        return x


@torch.no_grad()
def fuse(model: nn.Module, *, size: tuple[int, int]) -> Fused:
    """Return an evaluation copy of `model` with norms, embeddings and kernels folded for one input size.

    The copy differs from the original by rounding alone: at most 1e-10 relative in float64. The original is unchanged.

    Args:
        model: a model of images; what has no folding rule, such as other families' norms, stays as it is.
        size: (height, width) of the images, pixels.

    Raises:
        ValueError: if `size` is not positive, the model has no convolution, or uses one ParC operator at two sizes.
    """
    if min(size) < 1:
        raise ValueError(f"size={size}: height and width must be at least 1 pixel")
    twin = copy.deepcopy(model).eval()
    return Fused(_fold(twin, _trace_sizes(twin, size)), size=size)


def _trace_sizes(model: nn.Module, size: tuple[int, int]) -> Sizes:
    sizes: Sizes = {}

    def note(module: nn.Module, args: tuple[object, ...]) -> None:
        height, width = cast("Tensor", args[0]).shape[2:]
        if sizes.setdefault(module, (height, width)) != (height, width):
            raise ValueError(f"model uses one {type(module).__name__} at two sizes: it cannot be folded for both")

    sized = (module for module in model.modules() if isinstance(module, CircularConv2d | ParCBranch))
    hooks = [module.register_forward_pre_hook(note) for module in sized]
    first = next((module for module in model.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise ValueError("model has no convolution: it takes no images")
    model(first.weight.new_zeros(1, first.in_channels, *size))
    for hook in hooks:
        hook.remove()
    return sizes


@singledispatch
def _fold(module: nn.Module, sizes: Sizes) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, _fold(child, sizes))
    return module


_register = cast("Callable[[type], Callable[[Callable[..., nn.Module]], None]]", _fold.register)


@_register(ConvNormAct)
def _(module: ConvNormAct, sizes: Sizes) -> nn.Module:
    del sizes
    norm = module.bn
    if not isinstance(norm, nn.BatchNorm2d):
        return module
    return nn.Sequential(_conv_then_norm(cast("nn.Conv2d", module.conv), norm), cast("nn.Module", norm.act))


@_register(FeedForward)
def _(module: FeedForward, sizes: Sizes) -> nn.Module:
    del sizes
    return nn.Sequential(_norm_then_conv(module.norm, module.conv1), module.act, module.conv2)


@_register(ChannelGate)
def _(module: ChannelGate, sizes: Sizes) -> nn.Module:
    del sizes
    module.conv1 = _conv_then_norm(module.conv1, module.norm1)
    module.conv2 = _conv_then_norm(module.conv2, module.norm2)
    module.register_module("norm1", nn.Identity())
    module.register_module("norm2", nn.Identity())
    return module


@_register(ParCStage)
def _(module: ParCStage, sizes: Sizes) -> nn.Module:
    # The norm in front of the projection goes in first, while that is still a convolution with its own norm behind it.
    module.project.conv = _norm_then_conv(module.norm, cast("nn.Conv2d", module.project.conv))
    module.register_module("norm", nn.Identity())
    for name, child in module.named_children():
        setattr(module, name, _fold(child, sizes))
    return module


@_register(CircularConv2d)
def _(module: CircularConv2d, sizes: Sizes) -> nn.Module:
    return _at_size(module, sizes[module])


@_register(ParCBranch)
def _(module: ParCBranch, sizes: Sizes) -> nn.Module:
    conv1, conv2 = _at_size(module.conv1, sizes[module]), _at_size(module.conv2, sizes[module])
    scale, shift = _affine(module.norm)
    sum1, sum2 = conv1.weight.flatten(1).sum(1), conv2.weight.flatten(1).sum(1)
    constants: list[Tensor] = []
    if isinstance(module.pe1, PositionEmbedding) and isinstance(module.pe2, PositionEmbedding):
        before = _embedding(module.pe1, conv1) * scale.view(-1, 1, 1)
        constants.append(circular_conv(before, conv1.weight, axis=conv1.axis, form="conv") * sum2.view(-1, 1, 1))
        constants.append(circular_conv(_embedding(module.pe2, conv2), conv2.weight, axis=conv2.axis, form="conv"))
    conv2.bias = nn.Parameter(shift * sum1 * sum2, requires_grad=False)
    conv1.weight.mul_(scale.view(-1, 1, 1, 1))
    return FusedParCBranch(conv1, conv2, constants=constants)


def _embedding(module: PositionEmbedding, conv: CircularConv2d) -> Tensor:
    """The embedding at the length of the convolution along the same axis: (1, C, H, 1) or (1, C, 1, W)."""
    return resize_along(module.weight, max(conv.weight.shape[2:]), axis=module.axis)


def _at_size(conv: CircularConv2d, size: tuple[int, int]) -> CircularConv2d:
    length = size[0] if conv.axis == "height" else size[1]
    conv.weight = nn.Parameter(resize_along(conv.weight, length, axis=conv.axis).clone(), requires_grad=False)
    return conv


def _affine(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """BatchNorm in evaluation as (scale, shift) per channel."""
    mean, var = cast("Tensor", norm.running_mean), cast("Tensor", norm.running_var)
    scale = norm.weight / torch.sqrt(var + norm.eps)
    return scale, norm.bias - scale * mean


def _conv_then_norm(conv: nn.Conv2d, norm: nn.BatchNorm2d) -> nn.Conv2d:
    scale, shift = _affine(norm)
    bias = shift if conv.bias is None else shift + scale * conv.bias
    return _with_constants(conv, conv.weight * scale.view(-1, 1, 1, 1), bias)


def _norm_then_conv(norm: nn.BatchNorm2d, conv: nn.Conv2d) -> nn.Conv2d:
    scale, shift = _affine(norm)
    per_group = conv.weight.unflatten(0, (conv.groups, -1)).flatten(3).squeeze(3)  # (groups, out/groups, in/groups)
    shifted = torch.einsum("goi,gi->go", per_group, shift.view(conv.groups, -1)).flatten()
    weight = (per_group * scale.view(conv.groups, 1, -1)).flatten(0, 1)[:, :, None, None]
    return _with_constants(conv, weight, shifted if conv.bias is None else conv.bias + shifted)


def _with_constants(conv: nn.Conv2d, weight: Tensor, bias: Tensor) -> nn.Conv2d:
    conv.weight = nn.Parameter(weight, requires_grad=False)
    conv.bias = nn.Parameter(bias, requires_grad=False)
    return conv
