"""A model for the verbs that look into one: from a checkpoint, or fresh by its name."""

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from parckit.contract import NetworkSpec
from parckit.models import build_backbone, preprocessing_of
from parckit.networks import names_checkpoint, open_checkpoint

_CLASSES = tuple(map(str, range(1000)))
"""Labels of a fresh model: as many classes as ImageNet's, which have learned no meaning."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OpenedModel:
    """A model to look into.

    Attributes:
        name: in timm's registry, or the file.
        model: in eval mode.
        spec: what it is.
        weights: in words, where its numbers come from.
        fresh: whether it is untrained.
    """

    name: str
    model: nn.Module
    spec: NetworkSpec
    weights: str
    fresh: bool


def open_model(name: str, *, seed: int, size: tuple[int, int] | None) -> OpenedModel:
    """Open a checkpoint, or build a model of timm's registry with fresh weights.

    Args:
        name: the path of a .ckpt or .safetensors file, or a model's name.
        seed: of fresh weights.
        size: (height, width) of the images, pixels; by default the model's own.

    Raises:
        InputError: if there is no such model, or the file is no checkpoint.
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
