"""Opens the model of a verb that looks inside it: a checkpoint, or a registered model with random weights."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from parckit.contract import NetworkSpec
from parckit.models import build_backbone, preprocessing_of
from parckit.networks import names_checkpoint, open_checkpoint

_CLASSES = tuple(map(str, range(1000)))
"""Labels of a model with random weights: numbers, as many as ImageNet has classes."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedModel:
    """A model, ready to be examined.

    Attributes:
        name: name in timm's registry, or path of the checkpoint.
        model: the network, in eval mode.
        spec: describes the network.
        weights: words that say where the weights come from.
        fresh: whether the weights are random.
    """

    name: str
    model: nn.Module
    spec: NetworkSpec
    weights: str
    fresh: bool


def open_model(name: str, *, seed: int, size: tuple[int, int] | None) -> OpenedModel:
    """Open a checkpoint, or build a model of timm's registry with random weights.

    Args:
        name: the path of a .ckpt or .safetensors file, or a model's name.
        seed: seed of random weights.
        size: (height, width) of the images, pixels; None takes the model's size.

    Raises:
        InputError: if there is no such model, or the file is not a checkpoint.
    """
    if names_checkpoint(name):
        model, spec = open_checkpoint(Path(name))
        weights, fresh = f"{spec.backbone} of {name}", False
    else:
        torch.manual_seed(seed)
        model = build_backbone(name, {}, num_classes=len(_CLASSES))
        spec = NetworkSpec(backbone=name, labels=_CLASSES, preprocessing=preprocessing_of(model))
        weights, fresh = f"untrained, seed {seed}", True
    spec = spec if size is None else spec.with_size(size)
    return OpenedModel(name=name, model=model.eval(), spec=spec, weights=weights, fresh=fresh)
