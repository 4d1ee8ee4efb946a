"""DeepLabv3 equals the official network at every stage: maps, pyramid, logits and classes."""

from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from golden_fixtures import official_state_dict, read_keys, stored_cases
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.measure.cost import count
from parckit.networks import build_network, create_segmenter, load_official_network

SPEC = NetworkSpec(
    task="segment",
    backbone="parcnet_s",
    head="deeplabv3",
    labels=tuple(f"class {number}" for number in range(21)),
    preprocessing=Preprocessing(size=(512, 512), fit="stretch", channel_order="bgr"),
)
MODULES = {
    "layer_5": "backbone.model.stages.4",
    "aspp_convs.0": "pyramid.branches.0",
    "aspp_convs.3": "pyramid.branches.3",
    "aspp_convs.4": "pyramid.branches.4",
    "aspp_out": "pyramid.project",
    "logits_low": "",
}


@pytest.fixture(scope="module")
def network() -> nn.Module:
    with torch.device("meta"):
        network = build_network(SPEC)
    network = network.to_empty(device="cpu").eval()
    load_official_network(network, SPEC, official_state_dict("deeplabv3_parcnet_s"))
    return network


@pytest.mark.parametrize("name", ["deeplabv3_parcnet_s_256", "deeplabv3_parcnet_s_512"])
def test_maps_logits_and_classes_are_the_official_ones(network, name):
    cases, outputs = stored_cases(name), dict[str, torch.Tensor]()

    def keep(kind):
        return lambda _module, _inputs, output: outputs.update({kind: output})

    hooks = [network.get_submodule(ours).register_forward_hook(keep(kind)) for kind, ours in MODULES.items()]
    images = cases[0].make_input()
    with torch.no_grad():
        network(images)
    for hook in hooks:
        hook.remove()
    outputs["logits"] = F.interpolate(
        outputs["logits_low"], size=images.shape[2:], mode="bilinear", align_corners=False
    )
    classes = outputs["logits"].argmax(dim=1)[0].numpy()
    for case in cases:
        assert case.arrays.keys() == {*outputs, "argmax"}
        for kind, output in outputs.items():
            case.assert_equal(kind, output)
        rows, columns = case.meta["arrays"]["argmax"]["stride"]
        np.testing.assert_array_equal(classes[::rows, ::columns], case.arrays["argmax"])


def test_it_costs_what_the_official_one_costs(network):
    facts = read_keys("deeplabv3_parcnet_s")
    cost = count(network, size=(512, 512))
    assert (cost.params, cost.madds) == (facts["params"], facts["madds"]["512x512"])


def test_weights_of_another_network_are_refused(network):
    with pytest.raises(InputError, match=r"unexpected extra_layers"):
        load_official_network(network, SPEC, official_state_dict("ssd_parcnet_s"))
    with pytest.raises(InputError, match="backbone='test_resnet': official weights exist for parcnet_xs"):
        load_official_network(network, replace(SPEC, backbone="test_resnet"), official_state_dict("ssd_parcnet_s"))


@pytest.mark.parametrize("output_stride", [8, 16])
@torch.no_grad()
def test_the_output_stride_is_that_of_the_logits(output_stride):
    segmenter = create_segmenter("deeplabv3_test_parcnet", num_classes=3, width=8, output_stride=output_stride).eval()
    assert segmenter(torch.zeros(1, 3, 64, 96)).shape == (1, 3, 64 // output_stride, 96 // output_stride)


@pytest.mark.parametrize(
    ("head", "backbone", "message"),
    [
        ({"output_stride": 32}, {}, r"output_stride=32: must be one of \(8, 16\)"),
        ({"rates": [6, 0]}, {}, r"rates=\(6, 0\)"),
        ({"width": 0}, {}, "width=0"),
        ({"drop_rate": 1.0}, {}, "drop_rate=1.0"),
        ({"auxiliary": "yes"}, {}, "auxiliary"),
        ({}, {"output_stride": 32}, "output_stride=32 of the backbone test_resnet: output_stride=16 of the head"),
    ],
)
def test_wrong_keywords_are_refused(head, backbone, message):
    with pytest.raises(InputError, match=message):
        create_segmenter("deeplabv3_test_resnet", num_classes=3, backbone_kwargs=backbone, **head)


def test_a_backbone_without_an_output_stride_is_refused():
    with pytest.raises(InputError, match=r"edgevit_xxs: .*output_stride"):
        create_segmenter("deeplabv3_edgevit_xxs", num_classes=3)
