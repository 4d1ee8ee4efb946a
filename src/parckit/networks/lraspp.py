"""LR-ASPP, a light segmenter for boards.

Source: Howard et al., "Searching for MobileNetV3", arXiv:1905.02244, section 6.3. In the paper, the coarse map is
upsampled before the last layer, here after it. The result is the same, because both are linear, and the weights of the
upsampling add up to 1. But fewer channels are upsampled: as many as there are classes.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import torch.nn.functional as F
from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec
from parckit.networks.features import Backbone
from parckit.networks.head_settings import read_head_settings
from parckit.networks.segmenter import Segmenter, check_settings, with_output_stride

_FINE = 8
"""Stride of the finer map, which is also that of the logits."""
_COARSE = (16, 32)
_NATIVE = 32
"""Stride of the last map of most backbones. They then get no keyword `output_stride`, which some do not take."""


@dataclass(frozen=True, kw_only=True, slots=True)
class LrAsppSettings:
    """Keywords of the head `lraspp`.

    Attributes:
        output_stride: pixels of the image per position of the coarser map, 32 or 16. For 16 the backbone gets the
            keyword, too; this is more accurate and slower.
        width: channels of the hidden layer, 128 in the paper.

    Raises:
        InputError: if a number is out of range.
    """

    output_stride: int = _NATIVE
    width: int = 128

    def __post_init__(self) -> None:
        if self.output_stride not in _COARSE:
            raise InputError(f"output_stride={self.output_stride}: must be one of {_COARSE}")
        check_settings(width=self.width)


def build_lraspp(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the LR-ASPP that a spec describes, with one class for every label.

    Raises:
        InputError: if there is no such backbone, or it or the head refuses a keyword.
    """
    settings = read_head_settings(LrAsppSettings, spec)
    stride = settings.output_stride
    kwargs = spec.backbone_kwargs if stride == _NATIVE else with_output_stride(spec, stride)
    backbone = Backbone(spec.backbone, kwargs, strides=(_FINE, stride), pretrained=pretrained)
    return LrAspp(backbone, num_classes=len(spec.labels), width=settings.width)


@final
class LrAspp(Segmenter):
    """A backbone, a gated pointwise convolution on its coarse map, and a skip from its finer one.

    Args:
        backbone: gives a map of stride 8 and a coarser one.
        num_classes: number of classes.
        width: channels of the hidden layer.

    Shape:
        (B, 3, H, W) -> (B, num_classes, H / 8, W / 8)
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, width: int) -> None:
        super().__init__(backbone)
        fine, coarse = backbone.channels
        self.conv = ConvNormAct(coarse, width)
        self.gate = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Conv2d(coarse, width, 1, bias=False), nn.Sigmoid())
        self.coarse_classifier = nn.Conv2d(width, num_classes, 1)
        self.fine_classifier = nn.Conv2d(fine, num_classes, 1)
        self.init_weights()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the layers that give logits."""
        return ("coarse_classifier", "fine_classifier")

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the logits for the backbone's maps."""
        fine, coarse = maps
        logits = self.coarse_classifier(self.conv(coarse) * self.gate(coarse))
        upsampled = F.interpolate(logits, size=fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.fine_classifier(fine) + upsampled
