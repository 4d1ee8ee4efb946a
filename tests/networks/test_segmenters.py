"""LR-ASPP and UPerNet, and how segmenters take the maps of their backbones."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torchvision.models.segmentation.lraspp import LRASPPHead

from backbones import as_if_trained, images
from parckit.networks import create_segmenter

IMAGES = images(64, 96)


@torch.no_grad()
def test_lraspp_equals_torchvisions():
    ours = as_if_trained(create_segmenter("lraspp_test_resnet", num_classes=5, width=16)).eval()
    fine, coarse = ours.backbone.channels
    theirs = LRASPPHead(fine, coarse, 5, 16).eval()
    names = {
        "cbr.0": "conv.conv",
        "cbr.1": "conv.bn",
        "scale.1": "gate.1",
        "low_classifier": "fine_classifier",
        "high_classifier": "coarse_classifier",
    }
    for name, our_name in names.items():
        theirs.get_submodule(name).load_state_dict(ours.get_submodule(our_name).state_dict())
    maps = ours.backbone(IMAGES)
    expected = theirs({"low": maps[0], "high": maps[1]})
    # The last layer stands before the upsampling, not after it: float32 sums in another order.
    torch.testing.assert_close(ours(IMAGES), expected, rtol=0, atol=float(1e-5 * expected.abs().max()))


@pytest.mark.parametrize(("output_stride", "sides"), [(32, (2, 3)), (16, (4, 6))])
@torch.no_grad()
def test_the_coarse_map_of_lraspp_can_be_finer(output_stride, sides):
    segmenter = create_segmenter("lraspp_test_resnet", num_classes=3, output_stride=output_stride).eval()
    assert segmenter.backbone(IMAGES)[1].shape[2:] == sides
    assert segmenter(IMAGES).shape == (2, 3, 8, 12)


@pytest.mark.parametrize(
    ("backbone", "kwargs", "map_norms", "layer_norms"),
    [
        ("test_resnet", {}, True, 4),
        ("test_resnet", {}, False, 0),
        ("test_parcnetv2", {}, True, 4),
        ("test_parcnetv2", {"feature_norms": True}, True, 0),
    ],
)
def test_upernet_norms_maps_that_have_no_norms(backbone, kwargs, map_norms, layer_norms):
    segmenter = create_segmenter(
        f"upernet_{backbone}", num_classes=3, backbone_kwargs=kwargs, width=8, map_norms=map_norms
    )
    assert sum(isinstance(module, nn.LayerNorm) for module in segmenter.decoder.modules()) == layer_norms


@torch.no_grad()
def test_a_backbones_norms_are_used():
    kwargs = {"feature_norms": True}
    segmenter = create_segmenter("upernet_test_parcnetv2", num_classes=3, backbone_kwargs=kwargs, width=8).eval()
    as_if_trained(segmenter)
    seen: list[list[torch.Tensor]] = []
    segmenter.decoder.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    segmenter(IMAGES)
    expected = segmenter.backbone.model.forward_intermediates(IMAGES, norm=True, intermediates_only=True)
    for one, other in zip(seen[0][-4:], expected, strict=True):
        torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize(("name", "index"), [("deeplabv3_test_resnet", 3), ("upernet_test_resnet", -2)])
@torch.no_grad()
def test_the_auxiliary_head_sees_the_stage_before_the_last_one(name, index):
    segmenter = create_segmenter(name, num_classes=3, width=8, auxiliary=True).eval()
    seen: list[torch.Tensor] = []
    segmenter.auxiliary.register_forward_pre_hook(lambda _module, inputs: seen.append(inputs[0]))
    segmenter.training_logits(IMAGES)
    maps = segmenter.backbone.model.forward_intermediates(IMAGES, intermediates_only=True)
    assert torch.equal(seen[0], maps[index])


def test_fresh_logits_are_small_and_of_every_class():
    torch.manual_seed(0)
    for name in ("deeplabv3_test_resnet", "upernet_test_resnet", "lraspp_test_resnet"):
        logits = create_segmenter(name, num_classes=5).eval()(IMAGES)
        shares = F.softmax(logits, dim=1)
        assert shares.min() > 0.05
        assert shares.max() < 0.5
