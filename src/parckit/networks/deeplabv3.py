"""DeepLabv3 as in ParC-Net's and MobileViT's official code.

DeepLabv3: Chen et al., "Rethinking Atrous Convolution for Semantic Image Segmentation", arXiv:1706.05587, section 3.3.
ParC-Net's results are in its paper (arXiv:2203.03952, section 4.3).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch
import torch.nn.functional as F
from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec
from parckit.networks.features import Backbone
from parckit.networks.head_settings import read_head_settings
from parckit.networks.segmenter import Segmenter, auxiliary_head, check_settings, with_output_stride

_OUTPUT_STRIDES = (8, 16)

OFFICIAL_NAMES = (
    (r"^seg_head\.classifier\.classifier\.block\.conv\.", "classifier."),
    (r"^seg_head\.aspp\.aspp_layer\.convs\.4\.aspp_pool\.conv_1x1\.block\.", "pyramid.branches.4.conv."),
    (r"^seg_head\.aspp\.aspp_layer\.convs\.(\d)\.block\.", r"pyramid.branches.\1."),
    (r"^seg_head\.aspp\.aspp_layer\.project\.block\.", "pyramid.project."),
    (r"\.norm\.", ".bn."),
)
"""Patterns and replacements that turn the official names of the head's weights into ours."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DeepLabV3Settings:
    """Keywords of the head `deeplabv3`.

    Attributes:
        output_stride: pixels of the image per position of the last map, 16 or 8. The backbone gets it, too.
        width: channels of every branch of the pyramid.
        rates: dilations of the 3x3 convolutions of the pyramid. The paper doubles them for an output stride of 8.
        drop_rate: dropout after the pyramid and before the last layer.
        auxiliary: train an auxiliary head on the map of the stage before the last one.

    Raises:
        InputError: if a number is out of range.
    """

    output_stride: int = 16
    width: int = 256
    rates: tuple[int, ...] = (6, 12, 18)
    drop_rate: float = 0.1
    auxiliary: bool = False

    def __post_init__(self) -> None:
        if self.output_stride not in _OUTPUT_STRIDES:
            raise InputError(f"output_stride={self.output_stride}: must be one of {_OUTPUT_STRIDES}")
        check_settings(width=self.width, drop_rate=self.drop_rate)
        if not self.rates or any(rate < 1 for rate in self.rates):
            raise InputError(f"rates={self.rates}: must be one or more dilations from 1")


def build_deeplabv3(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the DeepLabv3 that a spec describes, with one class for every label.

    Raises:
        InputError: if there is no such backbone, it takes no `output_stride`, or it or the head refuses a keyword.
    """
    settings = read_head_settings(DeepLabV3Settings, spec)
    backbone = Backbone(
        spec.backbone,
        with_output_stride(spec, settings.output_stride),
        strides=(settings.output_stride,),
        pretrained=pretrained,
        with_earlier=settings.auxiliary,
    )
    return DeepLabV3(backbone, num_classes=len(spec.labels), settings=settings)


@final
class DeepLabV3(Segmenter):
    """A backbone, a pyramid of dilated convolutions, and a pointwise convolution that gives the logits.

    Training needs batches of two or more images: one branch of the pyramid norms one value per channel and image.

    Args:
        backbone: its last map is the one that the pyramid gets.
        num_classes: number of classes.
        settings: sizes of the head.

    Shape:
        (B, 3, H, W) -> (B, num_classes, H / output_stride, W / output_stride)
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, settings: DeepLabV3Settings) -> None:
        width, drop_rate = settings.width, settings.drop_rate
        auxiliary = None
        if settings.auxiliary:
            auxiliary = auxiliary_head(backbone, width=width, num_classes=num_classes, drop_rate=drop_rate)
        super().__init__(backbone, auxiliary=auxiliary)
        self.pyramid = AtrousPyramid(backbone.channels[-1], width=width, rates=settings.rates)
        self.drop = nn.Sequential(nn.Dropout(drop_rate), nn.Dropout2d(drop_rate))
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.init_weights()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the layers that give logits, without the auxiliary one."""
        return ("classifier",)

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the logits for the backbone's maps."""
        return self.classifier(self.drop(self.pyramid(maps[-1])))


class AtrousPyramid(nn.Module):
    """Pointwise, dilated and pooled branches, and a pointwise convolution over all of them (ASPP).

    Args:
        channels: width of the map.
        width: width of every branch and of the result.
        rates: dilations of the 3x3 convolutions.

    Shape:
        (B, channels, H, W) -> (B, width, H, W)
    """

    def __init__(self, channels: int, *, width: int, rates: Sequence[int]) -> None:
        super().__init__()
        dilated = (ConvNormAct(channels, width, 3, dilation=rate) for rate in rates)
        self.branches = nn.ModuleList([ConvNormAct(channels, width), *dilated, PooledBranch(channels, width)])
        self.project = ConvNormAct(len(self.branches) * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        return self.project(torch.cat([branch(x) for branch in self.branches], dim=1))


class PooledBranch(nn.Module):
    """The mean over all positions and a pointwise convolution; every position gets the result.

    Shape:
        (B, before, H, W) -> (B, after, H, W)
    """

    def __init__(self, before: int, after: int) -> None:
        super().__init__()
        self.conv = ConvNormAct(before, after)

    def forward(self, x: Tensor) -> Tensor:
        """Run the layers."""
        pooled = self.conv(x.mean((2, 3), keepdim=True))
        return F.interpolate(pooled, size=x.shape[2:], mode="bilinear", align_corners=False)
