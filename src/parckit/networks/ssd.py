"""SSD detectors with the light heads of MobileViT's and ParC-Net's official code.

SSD: arXiv:1512.02325. The separable heads are those of SSDLite (arXiv:1801.04381, section 6.2). ParC-Net's detection
results are in its paper (arXiv:2203.03952, section 4.2).
"""

from dataclasses import dataclass
from itertools import pairwise
from typing import cast, final

import torch
from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.contract import DecoderSpec, NetworkSpec, OutputSpec, to_plain
from parckit.networks.features import Backbone, DenseNetwork
from parckit.networks.head_settings import read_head_settings
from parckit.processing import SSD, PriorSettings, SsdDecoder, usual_settings

OUTPUTS = (
    OutputSpec(name="logits", dtype="float32", layout="NPC", shape=(None, None, None)),
    OutputSpec(name="offsets", dtype="float32", layout="NPC", shape=(None, None, 4)),
)
"""Class logits of every prior, the background first; and the offsets of its box."""

_BACKBONE_STRIDES = (16, 32)
_EXTRA_WIDTHS = {64: 256, 128: 128, 256: 128}
"""Stride of a map that the head adds -> its width."""
_GLOBAL_WIDTH = 64
"""Width of the last map, which has one position."""
_PROJECTED = (512, 256)
"""Width to which the head brings the maps of the backbone."""

OFFICIAL_NAMES = (
    (r"^extra_layers\.os_-1\.1\.block\.conv\.", "to_global.conv."),
    (r"^extra_layers\.os_64\.", "extra.0."),
    (r"^extra_layers\.os_128\.", "extra.1."),
    (r"^extra_layers\.os_256\.", "extra.2."),
    (r"^ssd_heads\.(\d)\.proj_layer\.", r"projections.\1."),
    (r"^ssd_heads\.5\.loc_cls_layer\.block\.conv\.", "predictors.5."),
    (r"^ssd_heads\.(\d)\.loc_cls_layer\.pw_conv\.block\.conv\.", r"predictors.\1.pointwise."),
    (r"^ssd_heads\.(\d)\.loc_cls_layer\.", r"predictors.\1."),
    (r"dw_conv\.block\.", "depthwise."),
    (r"pw_conv\.block\.", "pointwise."),
    (r"\.block\.", "."),
    (r"\.norm\.", ".bn."),
)
"""Patterns and replacements that turn the official names of the head's weights into ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SsdSettings:
    """Keywords of the head `ssd`.

    Attributes:
        scales: side of the priors of the six maps as a share of the image's side, and one more; see `PriorSettings`.
            The default are seven values evenly spaced from 0.1 to 1.05.
        ratios: aspect ratios of the priors of the six maps.
    """

    scales: tuple[float, ...] = tuple(0.1 + 0.95 * step / 6 for step in range(7))
    ratios: tuple[tuple[float, ...], ...] = (*((2.0, 3.0),) * 5, (2.0,))

    @property
    def priors(self) -> PriorSettings:
        """The priors."""
        strides = (*_BACKBONE_STRIDES, *_EXTRA_WIDTHS, 0)
        return PriorSettings(strides=strides, scales=list(self.scales), ratios=[list(row) for row in self.ratios])


def decoder_of(spec: NetworkSpec) -> DecoderSpec:
    """Return how the outputs of a spec's network become boxes."""
    return DecoderSpec(
        name=SSD, parameters=to_plain(read_head_settings(SsdSettings, spec).priors), defaults=usual_settings(SsdDecoder)
    )


def build_ssd(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the SSD that a spec describes, with one class for every label and one for the background.

    Raises:
        InputError: if there is no such backbone, or it or the head refuses a keyword.
    """
    priors = read_head_settings(SsdSettings, spec).priors
    backbone = Backbone(spec.backbone, spec.backbone_kwargs, strides=_BACKBONE_STRIDES, pretrained=pretrained)
    return SSDNetwork(backbone, num_classes=len(spec.labels), priors=priors)


def label_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the weights that depend on the classes."""
    separable = len(cast("SSDNetwork", network).predictors) - 1
    return (*(f"predictors.{index}.pointwise." for index in range(separable)), f"predictors.{separable}.")


@final
class SSDNetwork(DenseNetwork):
    """A backbone, four further maps, and a prediction for every prior box.

    Args:
        backbone: gives the maps of strides 16 and 32.
        num_classes: number of classes without the background.
        priors: the prior boxes; the network must have as many predictions at a position as there are priors.

    Shape:
        (B, 3, H, W) -> (B, priors, num_classes + 1), (B, priors, 4); 3,232 priors at 320x320
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, priors: PriorSettings) -> None:
        super().__init__(backbone)
        self.num_classes = num_classes
        widths = (backbone.channels[-1], *_EXTRA_WIDTHS.values())
        self.extra = nn.ModuleList(SeparableConv(before, after, stride=2) for before, after in pairwise(widths))
        self.to_global = GlobalMap(widths[-1], _GLOBAL_WIDTH)
        self.projections = nn.ModuleList(
            ConvNormAct(before, after) for before, after in zip(backbone.channels, _PROJECTED, strict=True)
        )
        widths = (*_PROJECTED, *_EXTRA_WIDTHS.values())
        outputs = [count * (4 + 1 + num_classes) for count in priors.per_position]
        self.predictors = nn.ModuleList(
            [
                *(SeparablePredictor(width, count) for width, count in zip(widths, outputs, strict=False)),
                nn.Conv2d(_GLOBAL_WIDTH, outputs[-1], 1),
            ]
        )
        self.init_weights()

    def init_weights(self) -> None:
        """Draw the weights of the head anew, as the official code does; the backbone keeps its weights."""
        for module in self.head_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """Return the class logits and the offsets of all priors, in the order of `PriorSettings.priors`."""
        maps = cast("list[Tensor]", self.backbone(images))
        projected = [project(one) for project, one in zip(self.projections, maps, strict=True)]
        x = maps[-1]
        further: list[Tensor] = []
        for layer in self.extra:
            x = layer(x)
            further.append(x)
        further.append(self.to_global(x))
        rows = [self._rows(predict(one)) for predict, one in zip(self.predictors, [*projected, *further], strict=True)]
        predictions = torch.cat(rows, dim=1)
        return predictions[..., 4:], predictions[..., :4]

    def _rows(self, x: Tensor) -> Tensor:
        """Give every prior a row: 4 offsets, then the logits.

        Shape:
            (B, priors at a position * (4 + 1 + classes), H, W) -> (B, H * W * priors at a position, 4 + 1 + classes)
        """
        return x.permute(0, 2, 3, 1).reshape(x.shape[0], -1, 4 + 1 + self.num_classes)


class SeparableConv(nn.Module):
    """A depthwise 3x3 convolution and a pointwise one, each with batch norm; ReLU only after the second.

    Shape:
        (B, before, H, W) -> (B, after, ceil(H / stride), ceil(W / stride))
    """

    def __init__(self, before: int, after: int, *, stride: int) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(before, before, 3, stride=stride, groups=before, apply_act=False)
        self.pointwise = ConvNormAct(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return self.pointwise(self.depthwise(x))


class SeparablePredictor(nn.Module):
    """A depthwise 3x3 convolution with batch norm, and a pointwise one with a bias and nothing after it."""

    def __init__(self, width: int, outputs: int) -> None:
        super().__init__()
        self.depthwise = ConvNormAct(width, width, 3, groups=width, apply_act=False)
        self.pointwise = nn.Conv2d(width, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return self.pointwise(self.depthwise(x))


class GlobalMap(nn.Module):
    """The mean over all positions, a pointwise convolution without bias, and ReLU.

    Shape:
        (B, before, H, W) -> (B, after, 1, 1)
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(before, after, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return torch.relu(self.conv(x.mean((2, 3), keepdim=True)))
