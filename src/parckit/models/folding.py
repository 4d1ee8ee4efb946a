"""Fold a trained model into constants for one input size: `fuse(model, size=(H, W))`.

Exact up to rounding. First `folding_norms` puts norms into convolutions, in any model. Then rules replace the blocks of
this package, whose kernels and embeddings are constants at one size. Here: a convolution along an axis keeps the kernel
of the map's size, less the taps that reach no position. `folding_parc` and `folding_v2` add the rules of the families.

A rule is registered with `folds`; a module without one is folded child by child.
"""

import copy
from collections.abc import Callable
from typing import TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers import AxisConv2d, CircularConv2d, ConstantAxisConv2d, OversizedConv2d
from parckit.models.build import check_size, image_channels
from parckit.models.folding_norms import fold_norms
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
        InputError: if `size` is not two positive whole numbers, or the model has no convolution.
        ValueError: if the model uses one ParC operator at two sizes.
    """
    check_size(size)
    twin = copy.deepcopy(model).eval()
    images = torch.zeros(1, image_channels(twin), *size)
    trace = watch(twin, images.to(next(twin.parameters())))
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
    """Fold a module by its class' rule; one without a rule, with hooks inside or never run, child by child in place."""
    if module not in trace.folded:
        rule = _RULES.get(type(module))
        if rule is None or module not in trace.calls or not trace.hooked.isdisjoint(module.modules()):
            rule = fold_children
        trace.folded[module] = rule(module, trace)
    return trace.folded[module]


def fold_children(module: nn.Module, trace: Trace) -> nn.Module:
    """Fold what is inside a module in place; return the module."""
    for name, child in list(module._modules.items()):  # pyright: ignore[reportPrivateUsage] - named_children omits second names
        if child is not None:
            setattr(module, name, fold(child, trace))
    return module


def constant_conv(conv: AxisConv2d, size: tuple[int, int]) -> ConstantAxisConv2d:
    """Return a convolution along an axis with its kernel for a map of (height, width)."""
    length = size[0] if conv.axis == "height" else size[1]
    return ConstantAxisConv2d(
        conv.weight_at(length), conv.bias, axis=conv.axis, padding=conv.padding, length=length, form=conv.form
    )


@folds(CircularConv2d, OversizedConv2d)
def _(module: AxisConv2d, trace: Trace) -> nn.Module:
    return constant_conv(module, trace.size_of(module))
