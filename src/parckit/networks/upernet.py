"""UPerNet: a pooling pyramid on the coarsest map, and a feature pyramid over all maps.

Source: Xiao et al., "Unified Perceptual Parsing for Scene Understanding", arXiv:1807.10221, section 3.1. The decoder is
that of segmentation-models-pytorch. Norms on the maps and the auxiliary head are usual since Swin (arXiv:2103.14030).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder
from torch import Tensor, nn

from parckit.contract import NetworkSpec
from parckit.networks.features import Backbone
from parckit.networks.head_settings import read_head_settings
from parckit.networks.segmenter import Segmenter, auxiliary_head, check_settings

_STRIDES = (4, 8, 16, 32)
_UNUSED = 2
"""The decoder expects the maps of strides 1 and 2 in front of the others, and does not use them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class UPerNetSettings:
    """Keywords of the head `upernet`.

    Attributes:
        width: channels of the decoder. The papers with networks of this size use 512.
        drop_rate: dropout before the last layer.
        map_norms: put a layer norm on every map of the backbone, as is usual if its stages end without a norm. A
            backbone that norms its maps itself gets none.
        auxiliary: train an auxiliary head on the map of stride 16.

    Raises:
        InputError: if a number is out of range.
    """

    width: int = 256
    drop_rate: float = 0.1
    map_norms: bool = True
    auxiliary: bool = False

    def __post_init__(self) -> None:
        check_settings(width=self.width, drop_rate=self.drop_rate)


def build_upernet(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the UPerNet that a spec describes, with one class for every label.

    Raises:
        InputError: if there is no such backbone, or it or the head refuses a keyword.
    """
    backbone = Backbone(spec.backbone, spec.backbone_kwargs, strides=_STRIDES, pretrained=pretrained)
    return UPerNet(backbone, num_classes=len(spec.labels), settings=read_head_settings(UPerNetSettings, spec))


@final
class UPerNet(Segmenter):
    """A backbone, the decoder, and a pointwise convolution that gives the logits.

    Training needs batches of two or more images: one branch of the decoder norms one value per channel and image.

    Args:
        backbone: gives the maps of strides 4, 8, 16 and 32.
        num_classes: number of classes.
        settings: sizes of the head.

    Shape:
        (B, 3, H, W) -> (B, num_classes, H / 4, W / 4)
    """

    def __init__(self, backbone: Backbone, *, num_classes: int, settings: UPerNetSettings) -> None:
        width, drop_rate = settings.width, settings.drop_rate
        auxiliary = None
        if settings.auxiliary:
            auxiliary = auxiliary_head(backbone, width=width, num_classes=num_classes, drop_rate=drop_rate)
        super().__init__(backbone, auxiliary=auxiliary)
        channels = (*(0,) * _UNUSED, *backbone.channels)
        self.decoder = UPerNetDecoder(channels, encoder_depth=len(channels) - 1, decoder_channels=width)
        # The decoder itself norms every map.
        if backbone.has_norms or not settings.map_norms:
            self.decoder.feature_norms = nn.ModuleList(nn.Identity() for _ in backbone.channels)
        self.drop = nn.Dropout2d(drop_rate)
        self.classifier = nn.Conv2d(width, num_classes, 1)
        self.init_weights()

    @property
    def classifiers(self) -> tuple[str, ...]:
        """Names of the layers that give logits, without the auxiliary one."""
        return ("classifier",)

    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the logits for the backbone's maps."""
        unused = [maps[0]] * _UNUSED
        return self.classifier(self.drop(self.decoder([*unused, *maps])))
