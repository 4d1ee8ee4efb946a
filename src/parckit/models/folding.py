"""Fold a trained model into constants for one input size: `fuse(model, size=(H, W))`.

The folded model is exact up to rounding; `fuse` names the one exception. Folding has two steps:

1. `folding_norms` folds norms into convolutions, in any model.
2. Rules replace the blocks of this package, because their kernels and embeddings are constant at one size. The rule in
   this file replaces a convolution along an axis: the new one keeps only the kernel for the map's size, without taps
   that reach no position. `folding_parc` and `folding_v2` contain the rules for the blocks of the two families.

The decorator `folds` registers a rule. If a module has no rule, its children are folded.
"""

from collections.abc import Callable
from typing import TypeVar, cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers import (
    AxisConv2d,
    CircularConv2d,
    ConstantAxisConv2d,
    OversizedConv2d,
    remove_training_only,
)
from parckit.models.build import check_size, copy_model, image_channels
from parckit.models.folding_norms import fold_norms
from parckit.models.folding_trace import Trace, watch

ModuleT = TypeVar("ModuleT", bound=nn.Module)
Rule = Callable[[ModuleT, Trace], nn.Module]
"""Returns the replacement of a module at the size of the trace; this may be the same module, changed."""

_RULES: dict[type[nn.Module], Rule[nn.Module]] = {}


FUSED_PREFIX = "model."
"""What `Fused` puts before the names of a model's layers."""


class Fused(nn.Module):
    """A folded model. It takes images of one size and cannot be trained.

    Raises:
        ValueError: from `forward`, for images of another size; from `train(True)`.

    Shape:
        (B, C, H, W) -> the output of the original model, (H, W) = `size`
    """

    def __init__(self, model: nn.Module, *, size: tuple[int, int]) -> None:
        super().__init__()
        self.model = model
        self.size = size
        self.eval()

    def forward(self, x: Float[Tensor, "b c h w"]) -> Tensor | list[Tensor]:
        """Run the folded model; a model made with `features_only` returns a list."""
        if tuple(x.shape[-2:]) != self.size:
            raise ValueError(f"x of size {tuple(x.shape[-2:])}: this model was fused for {self.size}")
        return self.model(x)

    def train(self, mode: bool = True) -> "Fused":
        """Refuse training mode, because the norms have been folded away."""
        if mode:
            raise ValueError("mode=True: a fused model cannot be trained; train the original and fuse it again")
        return super().train(mode)


@torch.no_grad()
def fuse(model: nn.Module, *, size: tuple[int, int]) -> Fused:
    """Return an evaluation copy of `model` with norms, embeddings and kernels folded for one input size.

    The copy differs from the original only by rounding: at most 1e-10 relative in float64. The norms of ParCNetV2 are
    the one exception. If the channels at a position, minus their mean, form a vector shorter than 1e-6, the original
    norm leaves it shorter than 1, but the LayerNorm in the copy stretches it to length 1.

    The copy lacks what runs in training only, such as an auxiliary head. The original is unchanged. If the model has
    parallel branches, as RepViT does, first merge them with timm's `reparameterize_model`.

    Args:
        model: any model that takes images; layers that cannot be folded, such as layer norms, stay as they are.
        size: (height, width) of the images, pixels.

    Raises:
        InputError: if `size` is not two positive whole numbers, or the model has no convolution.
        ValueError: if the model uses one ParC operator at two sizes.
    """
    check_size(size)
    twin = copy_model(model).eval()
    remove_training_only(twin)
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
    """Fold a module with the rule of its class, or else fold its children in place; return the folded module.

    The rule is not used if the module did not run, or if the module or anything inside it has a hook.
    """
    if module not in trace.folded:
        rule = _RULES.get(type(module))
        if rule is None or module not in trace.calls or not trace.hooked.isdisjoint(module.modules()):
            rule = fold_children
        trace.folded[module] = rule(module, trace)
    return trace.folded[module]


def fold_children(module: nn.Module, trace: Trace) -> nn.Module:
    """Fold the children of a module in place; return the module."""
    for name, child in list(module._modules.items()):  # pyright: ignore[reportPrivateUsage] - named_children skips second names
        if child is not None:
            setattr(module, name, fold(child, trace))
    return module


def constant_conv(conv: AxisConv2d, size: tuple[int, int]) -> ConstantAxisConv2d:
    """Return the convolution with its kernel fixed for maps of `size` (height, width)."""
    length = size[0] if conv.axis == "height" else size[1]
    return ConstantAxisConv2d(
        conv.weight_at(length), conv.bias, axis=conv.axis, padding=conv.padding, length=length, form=conv.form
    )


@folds(CircularConv2d, OversizedConv2d)
def fold_axis_conv(module: AxisConv2d, trace: Trace) -> nn.Module:
    """Replace a convolution along an axis by one with a constant kernel."""
    return constant_conv(module, trace.size_of(module))
