"""Classifiers, for one class a picture or several: a timm backbone with its own classification head."""

from collections.abc import Mapping
from typing import cast

from torch import nn

from parckit.contract import NetworkSpec, OutputSpec
from parckit.models import build_backbone

LOGITS = OutputSpec(name="logits", dtype="float32", layout="NC", shape=(None, None))
"""The only output of a classifier: one number for each class."""


def build_classifier(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the classifier that a spec describes, with one class for every label.

    Raises:
        InputError: if timm has no such model or weights, or the model refuses a keyword or its value.
    """
    return build_backbone(spec.backbone, spec.backbone_kwargs, pretrained=pretrained, num_classes=len(spec.labels))


def label_weights(network: nn.Module) -> tuple[str, ...]:
    """Return the prefixes of the weights that depend on the classes."""
    config = cast("Mapping[str, object]", network.pretrained_cfg)
    names = config["classifier"]
    return tuple(f"{name}." for name in ([names] if isinstance(names, str) else cast("list[str]", names)))
