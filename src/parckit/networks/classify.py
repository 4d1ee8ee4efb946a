"""Classifiers: a backbone with the head that timm gives it."""

from torch import nn

from parckit.contract import NetworkSpec, OutputSpec
from parckit.models import build_backbone

LOGITS = OutputSpec(name="logits", dtype="float32", layout="NC", shape=(None, None))
"""The only output of a classifier: one number for each class."""


def build_classifier(spec: NetworkSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the classifier that a spec describes; it tells as many classes apart as there are labels.

    Raises:
        InputError: if timm knows no such model or weights, or the model refuses a keyword or its value.
    """
    return build_backbone(spec.backbone, spec.backbone_kwargs, pretrained=pretrained, num_classes=len(spec.labels))
