"""Fold the blocks of ParCNetV2 for one input size; registers its rules with `folding`.

Exact up to rounding, with n(x) the norm without its weight w:

* n(x) = LayerNorm(x) / sqrt(C), which runtimes have as one operator. What it adds under the root is too little to be
  seen, as long as positions have vectors longer than 1e-10; the norm itself leaves those below 1e-6 short.
* W (w * n(x)) + b = (W w) n(x) + b: the weight goes into the convolution behind the norm. That may pad with zeros:
  nothing is added.
* Each bifurcation, one 1x1 convolution whose halves part, becomes two convolutions: the same products, and runtimes
  that keep maps in blocks of channels need not copy the halves apart.

The factors on skips stay: the norm that reads their sum sees all channels at once.
"""

from typing import cast

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from parckit.layers import BifurcateGateUnit, CenteredL2Norm2d, OversizedMixer, ParCV2Block, ParCV2Downsample
from parckit.models.folding import fold_children, folds
from parckit.models.folding_trace import Trace

_ADDED = 1e-24
"""What is added to the squared length of a vector: 1e-4 of it at a length of 1e-10, and a normal float32 number."""


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


@folds(CenteredL2Norm2d)
def _(module: CenteredL2Norm2d, trace: Trace) -> nn.Module:
    del trace
    weight = module.weight
    norm = _layer_norm(len(weight))
    norm.weight = nn.Parameter(weight * len(weight) ** -0.5, requires_grad=False)
    return norm


@folds(ParCV2Block)
def _(module: ParCV2Block, trace: Trace) -> nn.Module:
    module.register_module("norm1", _without_weight(module.norm1, module.mixer.expand))
    module.register_module("norm2", _without_weight(module.norm2, module.gate.expand))
    return fold_children(module, trace)


@folds(ParCV2Downsample)
def _(module: ParCV2Downsample, trace: Trace) -> nn.Module:
    del trace
    module.register_module("norm", _without_weight(module.norm, module.conv))
    return module


@folds(OversizedMixer)
def _(module: OversizedMixer, trace: Trace) -> nn.Module:
    return fold_children(FusedOversizedMixer(module), trace)


@folds(BifurcateGateUnit)
def _(module: BifurcateGateUnit, trace: Trace) -> nn.Module:
    del trace
    return FusedBifurcateGateUnit(module)


def _without_weight(norm: CenteredL2Norm2d, conv: nn.Conv2d) -> LayerNorm2d:
    """Move a norm's weight into the convolution behind it."""
    weight = norm.weight
    conv.weight.mul_(weight.view(-1, 1, 1) * len(weight) ** -0.5)
    return _layer_norm(len(weight))


def _layer_norm(dim: int) -> LayerNorm2d:
    return LayerNorm2d(dim, eps=_ADDED / dim, affine=False)


def _halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Part a 1x1 convolution by its outputs."""
    halves: list[nn.Conv2d] = []
    for weight, bias in zip(conv.weight.chunk(2), cast("Tensor", conv.bias).chunk(2), strict=True):
        half = nn.Conv2d(conv.in_channels, len(weight), 1, device=weight.device, dtype=weight.dtype)
        half.weight.copy_(weight)
        half.bias = nn.Parameter(bias.clone())
        halves.append(half)
    return halves[0], halves[1]
