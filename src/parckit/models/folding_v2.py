"""Fold the blocks of ParCNetV2 for one input size; importing this file registers the rules with `folding`.

The rules are exact up to rounding, with the exception in the first rule. n(x) is the norm, `CenteredL2Norm2d`, without
its weight w.

* n(x) = LayerNorm(x) / sqrt(C), and runtimes have LayerNorm as one operator. Its epsilon is so small that it changes
  nothing at positions whose centred vector of channels is longer than 1e-10. Only vectors shorter than 1e-6 differ:
  `CenteredL2Norm2d` does not stretch them to length 1, LayerNorm does.
* W (w * n(x)) + b = (W w) n(x) + b: the weight w goes into the convolution after the norm. The convolution may pad with
  zeros, because the norm has no bias.
* A bifurcation is one 1x1 convolution whose output is split into two halves. It becomes two convolutions. The products
  are the same, and runtimes that store maps in blocks of channels need not copy the halves.

The learned factors on the skips stay: a norm over all channels follows the sum, so they cannot move through it.
"""

from typing import cast

from jaxtyping import Float
from timm.layers import LayerNorm2d
from torch import Tensor, nn

from parckit.layers import BifurcateGateUnit, CenteredL2Norm2d, OversizedMixer, ParCV2Block, ParCV2Downsample
from parckit.models.folding import fold_children, folds
from parckit.models.folding_trace import Trace

_SQUARED_LENGTH_EPS = 1e-24
"""LayerNorm adds this to the squared length of a vector: 1e-4 of it at length 1e-10.

It is no subnormal number in float32.
"""


class FusedOversizedMixer(nn.Module):
    """An `OversizedMixer` that computes gate and value with two separate convolutions.

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
    """A `BifurcateGateUnit` that computes gate and value with two separate convolutions.

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
def fold_centered_l2_norm(module: CenteredL2Norm2d, trace: Trace) -> nn.Module:
    """Replace the norm by a LayerNorm whose weight contains the factor 1 / sqrt(C)."""
    del trace
    weight = module.weight
    norm = _layer_norm(len(weight))
    norm.weight = nn.Parameter(weight * len(weight) ** -0.5, requires_grad=False)
    return norm


@folds(ParCV2Block)
def fold_v2_block(module: ParCV2Block, trace: Trace) -> nn.Module:
    """Move the weights of both norms into the convolutions after them, then fold the children."""
    module.register_module("norm1", _without_weight(module.norm1, module.mixer.expand))
    module.register_module("norm2", _without_weight(module.norm2, module.gate.expand))
    return fold_children(module, trace)


@folds(ParCV2Downsample)
def fold_v2_downsample(module: ParCV2Downsample, trace: Trace) -> nn.Module:
    """Move the norm's weight into the convolution after it."""
    del trace
    module.register_module("norm", _without_weight(module.norm, module.conv))
    return module


@folds(OversizedMixer)
def fold_oversized_mixer(module: OversizedMixer, trace: Trace) -> nn.Module:
    """Split the bifurcation of a mixer into two convolutions, then fold its children."""
    return fold_children(FusedOversizedMixer(module), trace)


@folds(BifurcateGateUnit)
def fold_bifurcate_gate_unit(module: BifurcateGateUnit, trace: Trace) -> nn.Module:
    """Split the bifurcation of a gate unit into two convolutions."""
    del trace
    return FusedBifurcateGateUnit(module)


def _without_weight(norm: CenteredL2Norm2d, conv: nn.Conv2d) -> LayerNorm2d:
    """Move a norm's weight into the convolution after it; return the LayerNorm that replaces the norm."""
    weight = norm.weight
    conv.weight.mul_(weight.view(-1, 1, 1) * len(weight) ** -0.5)
    return _layer_norm(len(weight))


def _layer_norm(dim: int) -> LayerNorm2d:
    return LayerNorm2d(dim, eps=_SQUARED_LENGTH_EPS / dim, affine=False)


def _halves(conv: nn.Conv2d) -> tuple[nn.Conv2d, nn.Conv2d]:
    """Split a 1x1 convolution into two: the first and the second half of its output channels."""
    halves: list[nn.Conv2d] = []
    for weight, bias in zip(conv.weight.chunk(2), cast("Tensor", conv.bias).chunk(2), strict=True):
        half = nn.Conv2d(conv.in_channels, len(weight), 1, device=weight.device, dtype=weight.dtype)
        half.weight.copy_(weight)
        half.bias = nn.Parameter(bias.clone())
        halves.append(half)
    return halves[0], halves[1]
