r"""Fold ParC blocks and ParC convolutions for one input size; importing this file registers the rules with `folding`.

The rules are exact up to rounding. ⊛ is circular convolution along one axis. It is linear; except in dense
convolutions it works on every channel alone.

* ParC convolution: K ⊛ (x + pe) + b = K ⊛ x + (K ⊛ pe + b). The term in brackets varies only along K's axis, so it is
  stored as one vector per channel.
* ParC branch: x + k2 ⊛ (pe2 + k1 ⊛ (s * (x + pe1) + t)), with the norm's scale s and shift t. s moves into k1:
      x + k2 ⊛ ((s * k1) ⊛ x) + k2 ⊛ k1 ⊛ (s * pe1) + k2 ⊛ pe2 + k2 ⊛ k1 ⊛ t.
  If a tensor is constant along the kernel's axis, ⊛ multiplies it by the sum of the taps. So the last term is one
  number per channel, the third term varies only along k1's axis, and the fourth term only along k2's axis. Two vectors
  per channel are stored instead of a map.
* ParC block: ⊛ along the height and ⊛ along the width commute. So the two branches, which differ only in the order of
  the axes, become one branch over all channels. The channels need not be split into halves and joined.
* ParC stage: its local convolution is grouped and makes m output channels from every input channel. It becomes m
  depthwise convolutions, because engines have fast kernels for depthwise convolutions but not for grouped ones. This
  changes the order of the output channels, so the weights of the following 1x1 convolution are reordered.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import torch
from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers import (
    Axis,
    ConstantAxisConv2d,
    ParCBlock,
    ParCBranch,
    ParCConv2d,
    ParCStage,
    PositionEmbedding,
    axis_conv,
    resize_along,
)
from parckit.models.folding import constant_conv, fold_children, folds
from parckit.models.folding_norms import affine
from parckit.models.folding_trace import Trace

_AXES: tuple[Axis, Axis] = ("height", "width")


class FusedParCBlock(nn.Module):
    """A ParC block at one size: y = x + width(height(x)) + constants; the output is y + gate(ffn(y)).

    Args:
        convs: the convolution along the height and the one along the width.
        constants: (1, C, H, 1) and (1, C, 1, W); empty if the block has no embeddings.
        ffn: the feed-forward net.
        gate: the channel gate.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(
        self, convs: Sequence[ConstantAxisConv2d], constants: Sequence[Tensor], *, ffn: nn.Module, gate: nn.Module
    ) -> None:
        super().__init__()
        self.height, self.width = convs
        self.constants = _frozen(constants)
        self.ffn = ffn
        self.gate = gate

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions, then channels."""
        mixed = x + self.width(self.height(x))
        if self.constants:
            down, across = _maps(self.constants)
            mixed = mixed + (down + across)
        return mixed + self.gate(self.ffn(mixed))


class FusedParCConv2d(nn.Module):
    """A ParC convolution at one size: each half of the channels is convolved along one axis, then constants are added.

    Args:
        convs: the convolution of the first half, along the height, and of the second half, along the width.
        constants: (1, C1, H, 1) and (1, C2, 1, W), with C1 + C2 = C; empty if there are no embeddings.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, convs: Sequence[ConstantAxisConv2d], constants: Sequence[Tensor]) -> None:
        super().__init__()
        self.height, self.width = convs
        self.constants = _frozen(constants)
        # An export may replace the convolutions by modules without a weight.
        self._halves = [conv.weight.shape[0] for conv in convs]

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over whole columns in one half of the channels, over whole rows in the other."""
        a, b = x.split(self._halves, dim=1)
        out = torch.cat((self.height(a), self.width(b)), dim=1)
        if self.constants:
            out = out + torch.cat(_maps(self.constants), dim=1)
        return out


class FusedExpansion(nn.Module):
    """A grouped convolution with one input and m output channels per group, computed by m depthwise convolutions.

    The first one computes the first output channel of every group, the second one the second, and so on. The outputs
    are concatenated in this order.

    Shape:
        (B, C, H, W) -> (B, m C, H, W)
    """

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        chans, padding = conv.in_channels, cast("tuple[int, int]", conv.padding)
        size = cast("tuple[int, int]", conv.kernel_size)
        self.convs = nn.ModuleList()
        for weight, bias in zip(*(p.unflatten(0, (chans, -1)).unbind(1) for p in _weights(conv)), strict=True):
            part = nn.Conv2d(chans, chans, size, padding=padding, groups=chans)
            part.weight, part.bias = _frozen((weight, bias))
            self.convs.append(part)

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c2 h w"]:
        """Run the depthwise convolutions and concatenate their outputs."""
        return torch.cat([conv(x) for conv in self.convs], dim=1)


@folds(ParCConv2d)
def fold_parc_conv(module: ParCConv2d, trace: Trace) -> nn.Module:
    """Fold a ParC convolution: constant kernels, and constants for the convolved embeddings."""
    size = trace.size_of(module)
    convs = (constant_conv(module.height, size), constant_conv(module.width, size))
    constants: list[Tensor] = []
    for embedding, conv in zip((module.pe_height, module.pe_width), convs, strict=True):
        if isinstance(embedding, PositionEmbedding):
            # The constant is added anyway, so it takes the bias, too.
            constants.append(_convolved(embedding, conv))
            conv.bias = None
    return FusedParCConv2d(convs, constants)


@folds(ParCBlock)
def fold_parc_block(module: ParCBlock, trace: Trace) -> nn.Module:
    """Fold a ParC block: its two branches become one branch over all channels."""
    branches = [_fold_branch(branch, trace) for branch in (module.height_first, module.width_first)]
    size = trace.size_of(module)
    length: dict[Axis, int] = {"height": size[0], "width": size[1]}
    # Join the biases and the constants of both halves; if there are constants, the first one takes the bias.
    bias = torch.cat([branch.bias for branch in branches])
    constants = [
        torch.cat([branch.positions[axis] for branch in branches], dim=1) for axis in _AXES if branches[0].positions
    ]
    if constants:
        constants[0], bias = constants[0] + bias.view(-1, 1, 1), None
    # Join the kernels of both halves: one convolution per axis. The second one adds the bias, if it is still there.
    convs = [
        ConstantAxisConv2d(
            torch.cat([branch.kernels[axis] for branch in branches]),
            bias if axis == "width" else None,
            axis=axis,
            padding="circular",
            length=length[axis],
            form=module.height_first.conv1.form,
        )
        for axis in _AXES
    ]
    return FusedParCBlock(
        convs, constants, ffn=fold_children(module.ffn, trace), gate=fold_children(module.gate, trace)
    )


@folds(ParCStage)
def fold_parc_stage(module: ParCStage, trace: Trace) -> nn.Module:
    """Fold a ParC stage: its grouped local convolution becomes depthwise ones; then fold its children."""
    conv = cast("nn.Conv2d", module.local.conv)
    multiple = conv.out_channels // conv.groups
    # A folded norm leaves an nn.Sequential with its activation behind.
    norm_is_folded = isinstance(module.local.bn, nn.Sequential)
    if norm_is_folded and conv.groups == conv.in_channels and multiple > 1:
        module.local.conv = FusedExpansion(conv)
        # Reorder the input channels of the 1x1 convolution, from group by group to output by output.
        by_output = module.embed.weight.unflatten(1, (-1, multiple)).transpose(1, 2).flatten(1, 2)
        module.embed.weight = nn.Parameter(by_output, requires_grad=False)
    return fold_children(module, trace)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Branch:
    """A folded branch: x + width ⊛ height ⊛ x + positions along the height + positions along the width + bias."""

    kernels: dict[Axis, Tensor]
    positions: dict[Axis, Tensor]
    bias: Tensor


def _fold_branch(branch: ParCBranch, trace: Trace) -> _Branch:
    """Compute the kernels, constants and bias of the folded branch, as in the formula at the top of this file."""
    size = trace.size_of(branch)
    conv1, conv2 = constant_conv(branch.conv1, size), constant_conv(branch.conv2, size)
    scale, shift = affine(branch.norm)
    sum1, sum2 = conv1.weight.flatten(1).sum(1), conv2.weight.flatten(1).sum(1)
    positions: dict[Axis, Tensor] = {}
    if isinstance(branch.pe1, PositionEmbedding) and isinstance(branch.pe2, PositionEmbedding):
        positions[conv1.axis] = _convolved(branch.pe1, conv1) * (scale * sum2).view(-1, 1, 1)
        positions[conv2.axis] = _convolved(branch.pe2, conv2)
    kernels: dict[Axis, Tensor] = {conv1.axis: conv1.weight * scale.view(-1, 1, 1, 1), conv2.axis: conv2.weight}
    return _Branch(kernels=kernels, positions=positions, bias=shift * sum1 * sum2)


def _convolved(embedding: PositionEmbedding, conv: ConstantAxisConv2d) -> Tensor:
    """Return conv(embedding). It varies only along the axis of both: (1, C, H, 1) or (1, C, 1, W)."""
    positions = resize_along(embedding.weight, max(conv.weight.shape[2:]), axis=conv.axis)
    return axis_conv(positions, conv.weight, conv.bias, axis=conv.axis, padding="circular", form="conv")


def _maps(constants: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Expand (1, C, H, 1) and (1, C, 1, W) to whole maps.

    An engine combines both maps when it loads the model. Each run then needs only one addition.
    """
    down, across = constants
    return down.expand(-1, -1, -1, across.shape[3]), across.expand(-1, -1, down.shape[2], -1)


def _weights(conv: nn.Conv2d) -> tuple[Tensor, Tensor]:
    """Return the kernel and the bias of a convolution that has a bias."""
    return conv.weight, cast("Tensor", conv.bias)


def _frozen(constants: Sequence[Tensor]) -> nn.ParameterList:
    return nn.ParameterList(nn.Parameter(constant, requires_grad=False) for constant in constants)
