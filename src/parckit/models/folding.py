"""Fold a trained model into constants for one input size: `fuse(model, size=(H, W))`.

Exact up to rounding. First `folding_norms` puts norms into convolutions, in any model. Then rules replace the blocks of
this package, whose kernels and embeddings are constants at one size (⊛ is convolution along one axis, linear in both):

* a convolution along an axis keeps the kernel of the map's size, less the taps that reach no position.
* ParC convolution K ⊛ (x + pe) + b = K ⊛ x + (K ⊛ pe + b): the second term varies along K's axis alone, so a vector is
  kept.
* ParC branch x + k2 ⊛ (pe2 + k1 ⊛ (s * (x + pe1) + t)), where s and t are the norm's. All is per channel, so s moves
  into k1, and the rest does not depend on x:
      x + k2 ⊛ ((s * k1) ⊛ x) + k2 ⊛ k1 ⊛ (s * pe1) + k2 ⊛ pe2 + k2 ⊛ k1 ⊛ t.
  Where an argument is constant along a kernel's axis, ⊛ multiplies it by the sum of the taps. So the last term is a
  number per channel, k2's bias; the first constant varies along k1's axis alone, the second along k2's: two vectors
  are kept, no map, and none at all for a branch without embeddings.

A rule is registered with `folds`; a module without one is folded child by child.
"""

import copy
from collections.abc import Callable, Sequence
from typing import TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers import (
    AxisConv2d,
    CircularConv2d,
    ConstantAxisConv2d,
    OversizedConv2d,
    ParCBranch,
    ParCConv2d,
    PositionEmbedding,
    circular_conv,
    resize_along,
)
from parckit.models.folding_norms import affine, fold_norms
from parckit.models.folding_trace import Trace, watch

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Rule = Callable[[ModuleT, Trace], nn.Module]
"""Returns what stands for a module at the size that the trace ran on; it may be the module itself, changed."""

_RULES: dict[type[nn.Module], Rule[nn.Module]] = {}


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


@torch.no_grad()
def fuse(model: nn.Module, *, size: tuple[int, int]) -> Fused:
    """Return an evaluation copy of `model` with norms, embeddings and kernels folded for one input size.

    The copy differs from the original by rounding alone: at most 1e-10 relative in float64. The original is unchanged.
    timm's own `reparameterize_model` merges the parallel branches of RepViT and its like; call it first.

    Args:
        model: a model of images; what cannot be folded, such as layer norms, stays as it is.
        size: (height, width) of the images, pixels.

    Raises:
        ValueError: if `size` is not positive, the model has no convolution, or uses one ParC operator at two sizes.
    """
    if min(size) < 1:
        raise ValueError(f"size={size}: height and width must be at least 1 pixel")
    twin = copy.deepcopy(model).eval()
    first = next((module for module in twin.modules() if isinstance(module, nn.Conv2d)), None)
    if first is None:
        raise ValueError("model has no convolution: it takes no images")
    trace = watch(twin, first.weight.new_zeros(1, first.in_channels, *size))
    fold_norms(twin, trace)
    return Fused(fold(twin, trace), size=size)


def folds(*kinds: type[ModuleT]) -> Callable[[Rule[ModuleT]], Rule[ModuleT]]:
    """Register the rule that folds modules of exactly these classes; it runs after `fold_norms`."""

    def register(rule: Rule[ModuleT]) -> Rule[ModuleT]:
        for kind in kinds:
            _RULES[kind] = cast("Rule[nn.Module]", rule)
        return rule

    return register


def fold(module: nn.Module, trace: Trace) -> nn.Module:
    """Fold a module by its class' rule; one without a rule, with hooks or never run, child by child in place."""
    rule = _RULES.get(type(module))
    if rule is not None and module in trace.calls and module not in trace.hooked:
        return rule(module, trace)
    return fold_children(module, trace)


def fold_children(module: nn.Module, trace: Trace) -> nn.Module:
    """Fold what is inside a module in place; return the module."""
    for name, child in module.named_children():
        setattr(module, name, fold(child, trace))
    return module


class FusedParCBranch(nn.Module):
    """A ParC branch at one size: x + conv2(conv1(x)) + constants.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, conv1: nn.Module, conv2: nn.Module, *, constants: Sequence[Tensor] = ()) -> None:
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


class FusedPositionConv(nn.Module):
    """A position embedding and the convolution behind it at one size: conv(x) + constant.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, conv: nn.Module, *, constant: Tensor) -> None:
        super().__init__()
        self.conv = conv
        self.constant = nn.Parameter(constant, requires_grad=False)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Convolve along the axis."""
        return self.conv(x) + self.constant


def constant_conv(conv: AxisConv2d, size: tuple[int, int]) -> ConstantAxisConv2d:
    """Return a convolution along an axis with its kernel for a map of (height, width)."""
    length = size[0] if conv.axis == "height" else size[1]
    return ConstantAxisConv2d(
        conv.weight_at(length), conv.bias, axis=conv.axis, padding=conv.padding, length=length, form=conv.form
    )


@folds(CircularConv2d, OversizedConv2d)
def _(module: AxisConv2d, trace: Trace) -> nn.Module:
    return constant_conv(module, trace.size_of(module))


@folds(ParCConv2d)
def _(module: ParCConv2d, trace: Trace) -> nn.Module:
    pairs = (("pe_height", module.pe_height, module.height), ("pe_width", module.pe_width, module.width))
    for name, embedding, learned in pairs:
        conv = constant_conv(learned, trace.size_of(module))
        fused: nn.Module = conv
        if isinstance(embedding, PositionEmbedding):
            # The bias goes into the constant, since that is added anyway.
            fused = FusedPositionConv(conv, constant=_convolved(embedding, conv))
            conv.bias = None
        module.register_module(name, nn.Identity())
        module.register_module(learned.axis, fused)
    return module


@folds(ParCBranch)
def _(module: ParCBranch, trace: Trace) -> nn.Module:
    size = trace.size_of(module)
    conv1, conv2 = constant_conv(module.conv1, size), constant_conv(module.conv2, size)
    scale, shift = affine(module.norm)
    sum1, sum2 = conv1.weight.flatten(1).sum(1), conv2.weight.flatten(1).sum(1)
    constants: list[Tensor] = []
    if isinstance(module.pe1, PositionEmbedding) and isinstance(module.pe2, PositionEmbedding):
        constants.append(_convolved(module.pe1, conv1) * (scale * sum2).view(-1, 1, 1))
        constants.append(_convolved(module.pe2, conv2))
    conv2.bias = nn.Parameter(shift * sum1 * sum2, requires_grad=False)
    conv1.weight.mul_(scale.view(-1, 1, 1, 1))
    return FusedParCBranch(conv1, conv2, constants=constants)


def _convolved(embedding: PositionEmbedding, conv: ConstantAxisConv2d) -> Tensor:
    """Return conv(embedding), which varies along their axis alone: (1, C, H, 1) or (1, C, 1, W)."""
    positions = resize_along(embedding.weight, max(conv.weight.shape[2:]), axis=conv.axis)
    return circular_conv(positions, conv.weight, conv.bias, axis=conv.axis, form="conv")
