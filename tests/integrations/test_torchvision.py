"""Every family as the body of torchvision's feature pyramid, the front of its detectors."""

import pytest
import timm
import torch
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from backbones import SMALLEST, images


@pytest.mark.parametrize("name", [*SMALLEST, "test_resnet"])
def test_a_feature_pyramid_stands_on_it(name):
    torch.manual_seed(0)
    body = timm.create_model(name, features_only=True, feature_cls="list")
    pyramid = BackboneWithFPN(body, body.return_layers, body.feature_info.channels(), out_channels=16).train()
    maps = pyramid(images(64, 96))
    reductions = body.feature_info.reduction()
    assert [*maps] == [*map(str, range(len(reductions))), "pool"]
    for feature, reduction in zip(maps.values(), [*reductions, 2 * reductions[-1]], strict=True):
        assert feature.shape == (2, 16, 64 // reduction, -(-96 // reduction))
    sum(feature.square().mean() for feature in maps.values()).backward()
    assert [path for path, parameter in pyramid.named_parameters() if parameter.grad is None] == []
