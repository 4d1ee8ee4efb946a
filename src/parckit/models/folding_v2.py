"""Fold the blocks of ParCNetV2 for one input size; registers its rules with `folding`.

Exact up to rounding, with n(x) the norm without its weight w:

* W (w * n(x)) + b = (W w) n(x) + b: the weight goes into the convolution behind the norm. That may pad with zeros:
  nothing is added.
* Each bifurcation, one 1x1 convolution whose halves part, becomes two convolutions: the same products, and runtimes
  that keep maps in blocks of channels need not copy the halves apart.

The factors on skips stay: the norm that reads their sum sees all channels at once.
"""

from typing import cast

from jaxtyping import Float
from torch import Tensor, nn

from parckit.layers import BifurcateGateUnit, CenteredL2Norm2d, OversizedMixer, ParCV2Block, ParCV2Downsample
from parckit.models.folding import fold, folds
from parckit.models.folding_trace import Trace


class FusedOversizedMixer(nn.Module):
    """An `OversizedMixer` whose halves are computed apart.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, mixer: OversizedMixer) -> None:
        super().__init__()
        self.gate, self.value = _halves(mixer.expand)
        self.act = mixer.act
        self.height = mixer.height
        self.width = mixer.width
        self.local = mixer.local
        self.project = mixer.project

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix positions over the whole map."""
        value = self.act(self.value(x))
        return self.project(self.gate(x) * (self.width(self.height(value)) + self.local(value)))


class FusedBifurcateGateUnit(nn.Module):
    """A `BifurcateGateUnit` whose halves are computed apart.

    Shape:
        (B, C, H, W) -> (B, C, H, W)
    """

    def __init__(self, unit: BifurcateGateUnit) -> None:
        super().__init__()
        self.gate, self.value = _halves(unit.expand)
        self.act = unit.act
        self.project = unit.project

    def forward(self, x: Float[Tensor, "b c h w"]) -> Float[Tensor, "b c h w"]:
        """Mix channels position by position."""
        return self.project(self.gate(x) * self.act(self.value(x)))


@folds(ParCV2Block)
def _(module: ParCV2Block, trace: Trace) -> nn.Module:
    _move_weight(module.norm1, module.mixer.expand)
    _move_weight(module.norm2, module.gate.expand)
    return _fold_children(module, trace)


@folds(ParCV2Downsample)
def _(module: ParCV2Downsample, trace: Trace) -> nn.Module:
    _move_weight(module.norm, module.conv)
    return _fold_children(module, trace)


@folds(OversizedMixer)
def _(module: OversizedMixer, trace: Trace) -> nn.Module:
    return _fold_children(FusedOversizedMixer(module), trace)


@folds(BifurcateGateUnit)
def _(module: BifurcateGateUnit, trace: Trace) -> nn.Module:
    return _fold_children(FusedBifurcateGateUnit(module), trace)


def _fold_children(module: nn.Module, trace: Trace) -> nn.Module:
    for name, child in module.named_children():
        setattr(module, name, fold(child, trace))
    return module


def _move_weight(norm: CenteredL2Norm2d, conv: nn.Conv2d) -> None:
    conv.weight.mul_(cast("Tensor", norm.weight).view(-1, 1, 1))
    norm.weight = None


def _halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Part a 1x1 convolution by its outputs."""
    halves: list[nn.Conv2d] = []
    for weight, bias in zip(conv.weight.chunk(2), cast("Tensor", conv.bias).chunk(2), strict=True):
        half = nn.Conv2d(conv.in_channels, len(weight), 1, device=weight.device, dtype=weight.dtype)
        half.weight.copy_(weight)
        half.bias = nn.Parameter(bias.clone())
        halves.append(half)
    return halves[0], halves[1]
