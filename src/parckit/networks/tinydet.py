"""A small anchor-free detector for boards: a light feature pyramid and decoupled depthwise heads.

Its parts come from papers: a pyramid with a top-down and a bottom-up path (PANet, arXiv:1803.01534), depthwise 5x5
convolutions in it and in the heads (PicoDet, arXiv:2111.00902), separate branches for class and box (YOLOX,
arXiv:2107.08430), and distances from a point to the four sides of its box (FCOS, arXiv:1904.01355). All layers are
convolutions, batch norms, hardswish and nearest-neighbour resizing, so that every engine and quantizer takes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from math import log
from typing import cast, final

import torch.nn.functional as F
from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.contract import DecoderSpec, InputError, NetworkSpec, OutputSpec
from parckit.networks.features import Backbone, DenseNetwork
from parckit.networks.head_settings import read_head_settings
from parckit.processing import TINYDET, TinyDetDecoder, usual_settings

_KERNEL = 5
"""Side of the depthwise kernels: PicoDet found 5 to be more accurate than 3 for nearly the same time."""
_FIRST_SCORE = 0.01
"""Score of every position before training, so that the many positions without an object do not dominate at first."""
_FIRST_DISTANCE = 2.0
"""Distance to every side before training, in units of the stride."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TinyDetSettings:
    """Keywords of the head `tinydet`.

    Attributes:
        width: channels of the pyramid and of the heads.
        depth: number of convolutions in every branch of a head.
        strides: pixels of the input per position, for every map of the pyramid. The backbone gives the maps that it
            has; the pyramid makes coarser ones.

    Raises:
        InputError: if a number is out of range.
    """

    width: int = 64
    depth: int = 2
    strides: tuple[int, ...] = (8, 16, 32)

    def __post_init__(self) -> None:
        if self.width < 1 or self.depth < 1 or not self.strides:
            raise InputError(f"width={self.width}, depth={self.depth}, strides={self.strides}: need at least 1")
        if any(after != 2 * before for before, after in pairwise(self.strides)):
            raise InputError(f"strides={self.strides}: every stride must be twice the one before")


def outputs_of(spec: NetworkSpec) -> tuple[OutputSpec, ...]:
    """Return the outputs of a spec's network: class logits of every map, then distances of every map."""
    maps = range(len(read_head_settings(TinyDetSettings, spec).strides))
    shapes = {"logits": len(spec.labels), "distances": 4}
    return tuple(
        OutputSpec(name=f"{name}_{index}", dtype="float32", layout="NCHW", shape=(None, channels, None, None))
        for name, channels in shapes.items()
        for index in maps
    )


def decoder_of(spec: NetworkSpec) -> DecoderSpec:
    """Return how the outputs of a spec's network become boxes."""
    return DecoderSpec(
        name=TINYDET,
        parameters={"strides": list(read_head_settings(TinyDetSettings, spec).strides)},
        defaults=usual_settings(TinyDetDecoder),
    )


def build_tinydet(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the detector that a spec describes, with one class for every label.

    Raises:
        InputError: if there is no such backbone, or it or the head refuses a keyword.
    """
    settings = read_head_settings(TinyDetSettings, spec)
    backbone = Backbone(
        spec.backbone, spec.backbone_kwargs, strides=settings.strides, pretrained=pretrained, without_coarser=True
    )
    return TinyDet(backbone, num_classes=len(spec.labels), settings=settings)


def label_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the weights that depend on the classes."""
    branches = cast("Sequence[nn.Sequential]", cast("TinyDet", network).class_branches)
    return tuple(f"class_branches.{index}.{len(branch) - 1}." for index, branch in enumerate(branches))


@final
class TinyDet(DenseNetwork):
    """A backbone, a feature pyramid, and class logits and distances at every position of its maps.

    Args:
        backbone: gives the maps of `settings.strides`, or the finest of them.
        num_classes: number of classes.
        settings: sizes of pyramid and heads.

    Shape:
        (B, 3, H, W) -> (B, num_classes, H / s, W / s) for every stride s, then (B, 4, H / s, W / s) for every stride s
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, settings: TinyDetSettings) -> None:
        super().__init__(backbone)
        maps = len(settings.strides)
        self.pyramid = Pyramid(backbone.channels, width=settings.width, maps=maps)
        width, depth = settings.width, settings.depth
        self.class_branches = nn.ModuleList(_branch(width, num_classes, depth=depth) for _ in range(maps))
        self.box_branches = nn.ModuleList(_branch(width, 4, depth=depth) for _ in range(maps))
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights of pyramid and heads anew; the backbone keeps its weights."""
        for module in self.head_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        # The last layers: small weights, and biases that give the first score and the first distance.
        score = log(_FIRST_SCORE / (1 - _FIRST_SCORE))
        for branches, bias in ((self.class_branches, score), (self.box_branches, _FIRST_DISTANCE)):
            for branch in branches:
                last = cast("nn.Conv2d", cast("nn.Sequential", branch)[-1])
                nn.init.normal_(last.weight, std=0.01)
                nn.init.constant_(cast("Tensor", last.bias), bias)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the class logits and the distances of all maps; `TinyDetDecoder` says what they mean."""
        maps = self.pyramid(self.backbone(images))
        logits = [branch(one) for branch, one in zip(self.class_branches, maps, strict=True)]
        distances = [branch(one) for branch, one in zip(self.box_branches, maps, strict=True)]
        return (*logits, *distances)


class Pyramid(nn.Module):
    """Bring maps to one width, and let every map see the coarser ones and then the finer ones.

    Args:
        channels: widths of the backbone's maps, the finest first.
        width: width of all maps of the pyramid.
        maps: number of maps of the pyramid. Those that the backbone lacks are made of its coarsest one.

    Shape:
        (B, channels[i], H[i], W[i]) for every map -> (B, width, H[i], W[i]) for every map
    """

    def __init__(self, channels: Sequence[int], *, width: int, maps: int) -> None:
        super().__init__()
        self.lateral = nn.ModuleList(_conv(before, width) for before in channels)
        self.further = nn.ModuleList(_separable(width, stride=2) for _ in range(maps - len(channels)))
        steps = maps - 1
        self.down = nn.ModuleList(_separable(width) for _ in range(steps))
        self.shrink = nn.ModuleList(_separable(width, stride=2) for _ in range(steps))
        self.up = nn.ModuleList(_separable(width) for _ in range(steps))

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """Return the maps, the finest first."""
        narrow = [lateral(one) for lateral, one in zip(self.lateral, maps, strict=True)]
        for layer in self.further:
            narrow.append(layer(narrow[-1]))
        # From the coarsest map to the finest one.
        finer = [narrow[-1]]
        for layer, one in zip(self.down, reversed(narrow[:-1]), strict=True):
            finer.insert(0, layer(one + F.interpolate(finer[0], size=one.shape[-2:])))
        # And back.
        results = [finer[0]]
        for shrink, layer, one in zip(self.shrink, self.up, finer[1:], strict=True):
            results.append(layer(one + shrink(results[-1])))
        return results


def _branch(width: int, outputs: int, *, depth: int) -> nn.Sequential:
    return nn.Sequential(*(_separable(width) for _ in range(depth)), nn.Conv2d(width, outputs, 1))


def _separable(width: int, *, stride: int = 1) -> nn.Sequential:
    depthwise = _conv(width, width, kernel_size=_KERNEL, stride=stride, groups=width)
    return nn.Sequential(depthwise, _conv(width, width))


_conv = partial(ConvNormAct, act_layer=nn.Hardswish)
"""A convolution, pointwise by default and without bias, batch norm and hardswish."""
