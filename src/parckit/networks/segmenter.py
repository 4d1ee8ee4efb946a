"""What all networks that tell the class of every pixel share: the outputs, the auxiliary head, fresh weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import cast, final

from timm.layers import ConvNormAct
from torch import Tensor, nn

from parckit.contract import DecoderSpec, InputError, NetworkSpec, OutputSpec
from parckit.layers import TrainingOnly
from parckit.networks.features import Backbone, DenseNetwork
from parckit.processing import SEGMENT

AUXILIARY = "auxiliary."
"""Prefix of the weights of the auxiliary head."""

_CLASSIFIER_STD = 0.01
"""Standard deviation of fresh weights of the last layers, so that all classes are about equally likely at first."""


def outputs_of(spec: NetworkSpec) -> tuple[OutputSpec, ...]:
    """Return the only output of a spec's network: a coarse map of logits for every class."""
    return (OutputSpec(name="logits", dtype="float32", layout="NCHW", shape=(None, len(spec.labels), None, None)),)


def decoder_of(spec: NetworkSpec) -> DecoderSpec:
    """Return how the output of a spec's network becomes the class of every pixel."""
    del spec
    return DecoderSpec(name=SEGMENT)


def label_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the weights that depend on the classes."""
    return tuple(f"{name}." for name in cast("Segmenter", network).last_layers())


def with_output_stride(spec: NetworkSpec, output_stride: int) -> dict[str, object]:
    """Return the keywords of a spec's backbone, with the output stride that its head asks for.

    Raises:
        InputError: if the keywords contain another one.
    """
    name = "output_stride"
    stated = spec.backbone_kwargs.get(name, output_stride)
    if stated != output_stride:
        raise InputError(f"{name}={stated} of the backbone {spec.backbone}: {name}={output_stride} of the head differs")
    return {**spec.backbone_kwargs, name: output_stride}


@final
class AuxiliaryHead(TrainingOnly):
    """A small fully convolutional head on an earlier map, whose loss helps in training (PSPNet, arXiv:1612.01105).

    Args:
        channels: width of the map.
        width: width of the hidden layer.
        num_classes: number of classes.
        drop_rate: dropout before the last layer.

    Shape:
        (B, channels, H, W) -> (B, num_classes, H, W)
    """

    def __init__(self, channels: int, *, width: int, num_classes: int, drop_rate: float) -> None:
        super().__init__(
            ConvNormAct(channels, width, 3),
            nn.Dropout2d(drop_rate),
            nn.Conv2d(width, num_classes, 1),
        )


def auxiliary_head(backbone: Backbone, *, width: int, num_classes: int, drop_rate: float) -> AuxiliaryHead:
    """Return a fresh auxiliary head for the backbone's last map but one.

    Args:
        backbone: gives the map.
        width: of the main head. The auxiliary one is half as wide, as in mmsegmentation's configurations.
        num_classes: number of classes.
        drop_rate: dropout before the last layer.
    """
    return AuxiliaryHead(backbone.channels[-2], width=max(1, width // 2), num_classes=num_classes, drop_rate=drop_rate)


class Segmenter(DenseNetwork, ABC):
    """A network that gives class logits at every position of a coarse map.

    Args:
        backbone: gives the maps.
        auxiliary: takes the backbone's last map but one, in training only; None for a network without.

    Shape:
        (B, 3, H, W) -> (B, num_classes, h, w)
    """

    def __init__(self, backbone: Backbone, *, auxiliary: AuxiliaryHead | None = None) -> None:
        super().__init__(backbone)
        self.auxiliary = auxiliary

    @property
    @abstractmethod
    def classifiers(self) -> tuple[str, ...]:
        """Names of the layers that give logits, without the auxiliary one."""

    @abstractmethod
    def logits(self, maps: Sequence[Tensor]) -> Tensor:
        """Return the logits for the backbone's maps."""

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, not upsampled."""
        return self.logits(self.backbone(images))

    def training_logits(self, images: Tensor) -> tuple[Tensor, Tensor | None]:
        """Return the logits and those of the auxiliary head, or None if the network has none. Neither is upsampled."""
        maps = self.backbone(images)
        return self.logits(maps), None if self.auxiliary is None else self.auxiliary(maps[-2])

    def last_layers(self) -> tuple[str, ...]:
        """Return the names of all layers that give logits."""
        return (*self.classifiers, *(() if self.auxiliary is None else (f"{AUXILIARY}{len(self.auxiliary) - 1}",)))

    def init_weights(self) -> None:
        """Draw the weights of the heads anew; the backbone keeps its weights."""
        for module in self.head_modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        for name in self.last_layers():
            layer = cast("nn.Conv2d", self.get_submodule(name))
            nn.init.normal_(layer.weight, std=_CLASSIFIER_STD)
            nn.init.zeros_(cast("Tensor", layer.bias))


def check_settings(**values: float) -> None:
    """Check widths, rates and shares of dropout among the keywords of a head.

    Raises:
        InputError: if a width is below 1, or a share of dropout is not in [0, 1).
    """
    for name, value in values.items():
        if name == "drop_rate" and not 0 <= value < 1:
            raise InputError(f"{name}={value}: must be at least 0 and below 1")
        if name != "drop_rate" and value < 1:
            raise InputError(f"{name}={value}: must be at least 1")
