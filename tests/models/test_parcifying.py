"""ParC put into networks of timm, of many families, by one mechanism."""

import pytest
import timm
import torch
from timm.models._features import FeatureGetterNet
from torch import nn

import parckit
from backbones import as_if_trained, hollow, on_meta
from parckit.contract import InputError
from parckit.layers import ParCConv2d, PositionEmbedding
from parckit.measure import cost
from parckit.models import parcify

# What is replaced by default: the last convolution on the smallest maps and the last three on the next larger ones.
FAMILIES = {
    "convnext_atto": [
        "stages.2.blocks.3.conv_dw",
        "stages.2.blocks.4.conv_dw",
        "stages.2.blocks.5.conv_dw",
        "stages.3.blocks.1.conv_dw",
    ],
    "mobilenetv3_small_100": ["blocks.2.2.conv_dw", "blocks.3.0.conv_dw", "blocks.3.1.conv_dw", "blocks.4.2.conv_dw"],
    "resnext50_32x4d": ["layer3.3.conv2", "layer3.4.conv2", "layer3.5.conv2", "layer4.2.conv2"],
}
SMALL = ("test_convnext", "test_resnet", "mobilenetv3_small_050")
SIZE = (64, 96)

small = pytest.mark.parametrize("name", SMALL)


def make(name: str, **kwargs: object) -> nn.Module:
    torch.manual_seed(0)
    return as_if_trained(timm.create_model(name, num_classes=5, **kwargs)).eval()


def images(chans: int = 3) -> torch.Tensor:
    return torch.randn(4, chans, *SIZE, generator=torch.Generator().manual_seed(1))


def refusal(model: nn.Module, **kwargs: object) -> str:
    with pytest.raises(InputError) as caught:
        parcify(model, **kwargs)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("name", FAMILIES)
def test_the_last_convolutions_of_the_smallest_maps_are_replaced_at_the_reported_cost(name):
    model = on_meta(name)
    result = parcify(model, position_embedding="first")
    assert [replacement.name for replacement in result.report.replacements] == FAMILIES[name]
    assert [path for path, part in result.model.named_modules() if isinstance(part, ParCConv2d)] == FAMILIES[name]
    before, after = (cost.count(network, size=result.report.size) for network in (model, result.model))
    replacements = result.report.replacements
    assert sum(r.params_after - r.params_before for r in replacements) == after.params - before.params
    assert sum(r.madds_after - r.madds_before for r in replacements) == after.madds - before.madds


@small
@torch.no_grad()
def test_all_other_weights_stay_and_the_given_model_too(name):
    model = make(name)
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    result = parcify(model)
    assert not any(isinstance(part, ParCConv2d) for part in model.modules())
    replaced = tuple(f"{replacement.name}." for replacement in result.report.replacements)
    after = result.model.state_dict()
    for key, tensor in before.items():
        torch.testing.assert_close(model.state_dict()[key], tensor, rtol=0, atol=0)
        if not key.startswith(replaced):
            torch.testing.assert_close(after[key], tensor, rtol=0, atol=0)
    assert {key for key in after.keys() - before.keys() if not key.startswith(replaced)} == set()


@small
def test_the_result_is_a_working_timm_model(name):
    model = make(name)
    result = parcify(model).model
    assert type(result) is type(model)
    assert (result.feature_info, result.pretrained_cfg) == (model.feature_info, model.pretrained_cfg)
    with torch.no_grad():
        assert (result(images()) - model(images())).abs().max() > 1e-6
        features = result.forward_intermediates(images(), intermediates_only=True)
    assert [feature.shape[1] for feature in features] == [stage["num_chs"] for stage in model.feature_info]
    result.reset_classifier(7)
    nn.functional.cross_entropy(result.train()(images()), torch.arange(4)).backward()
    assert [path for path, parameter in result.named_parameters() if parameter.grad is None] == []
    fresh = (part for part in result.modules() if isinstance(part, ParCConv2d))
    assert all(parameter.grad.any() for part in fresh for parameter in part.parameters())


@pytest.mark.parametrize("name", ["mobilenetv3_small_050", "test_convnext2", "test_resnet"])
def test_features_can_be_taken_of_the_result(name):
    features = FeatureGetterNet(parcify(on_meta(name)).model)
    assert any(isinstance(part, ParCConv2d) for part in features.modules())
    maps = features(torch.empty(1, 3, *SIZE, device="meta"))
    assert [feature_map.shape[1] for feature_map in maps] == features.feature_info.channels()
    assert [SIZE[0] // feature_map.shape[2] for feature_map in maps] == features.feature_info.reduction()


@pytest.mark.parametrize("name", ["mobileone_s0", "repvgg_a0"])
def test_networks_of_parallel_branches_are_merged_first(name):
    result = parcify(timm.utils.reparameterize_model(hollow(name)))
    replaced = [replacement.name for replacement in result.report.replacements]
    assert len({path.rpartition(".")[0] for path in replaced}) == len(replaced) > 0
    again = timm.utils.reparameterize_model(result.model)
    assert sum(isinstance(part, ParCConv2d) for part in again.modules()) == len(replaced)


def test_the_default_keeps_to_the_last_two_sizes_of_map():
    # It attends in its last two stages; what could be replaced stands before them.
    assert "stages=None: nothing on the smallest maps, ((8, 8), (16, 16))" in refusal(on_meta("botnet26t_256"))
    assert [
        replacement.name for replacement in parcify(on_meta("botnet26t_256"), stages={1: 1}).report.replacements
    ] == ["stages.1.1.conv2_kxk.conv"]


def test_lengths_are_those_of_the_map():
    report = parcify(on_meta("test_convnext"), size=SIZE).report
    assert report.size == SIZE
    assert {replacement.length for replacement in report.replacements} == {(4, 6), (2, 3)}
    assert {replacement.length for replacement in parcify(on_meta("test_convnext")).report.replacements} == {
        (10, 10),
        (5, 5),
    }


def test_each_stage_loses_its_last_convolutions():
    report = parcify(on_meta("resnet50"), stages={3: 2, 1: 1}).report
    assert [replacement.name for replacement in report.replacements] == [
        "layer2.3.conv2",
        "layer4.1.conv2",
        "layer4.2.conv2",
    ]
    assert [replacement.stage for replacement in report.replacements] == [1, 3, 3]


def test_the_report_follows_the_models_order():
    names = [
        replacement.name for replacement in parcify(on_meta("resnet50"), stages={3: 2, 0: 1, 2: 1}).report.replacements
    ]
    assert names == ["layer1.2.conv2", "layer3.5.conv2", "layer4.1.conv2", "layer4.2.conv2"]


@pytest.mark.parametrize("name", ["resnet18", "mobilenetv3_small_050"])
def test_the_head_does_not_matter(name):
    assert parcify(on_meta(name, global_pool="")).report.replacements


def test_embeddings_can_be_in_every_operator_or_the_first_of_a_stage_or_none():
    stages = {2: 3, 3: 1}
    with_embedding = {
        where: [
            replacement.with_pe
            for replacement in parcify(on_meta("resnet18"), stages=stages, position_embedding=where).report.replacements
        ]
        for where in ("every", "first", "none")
    }
    assert with_embedding == {"every": [True] * 4, "first": [True, False, False, True], "none": [False] * 4}
    model = parcify(on_meta("resnet18"), stages=stages, position_embedding="first").model
    # Two embeddings, for the height and the width, in each of two operators.
    assert sum(isinstance(part, PositionEmbedding) for part in model.modules()) == 4


@pytest.mark.parametrize(
    ("name", "conv", "groups", "per_group"),
    [
        ("test_convnext", "7x7 depthwise", (24, 24), 1),
        ("resnet18", "3x3 dense", (1, 1), 128),
        ("resnext50_32x4d", "3x3 32 groups", (16, 16), 16),
        ("regnety_032", "3x3 9 groups", (5, 4), 24),
    ],
)
def test_grouping_is_kept_within_each_half(name, conv, groups, per_group):
    stage = 1 if name == "regnety_032" else 2
    result = parcify(on_meta(name), stages={stage: 1})
    (replacement,) = result.report.replacements
    assert (replacement.conv, replacement.groups) == (conv, groups)
    parc = result.model.get_submodule(replacement.name)
    assert [half.weight.shape[:2] for half in (parc.height, parc.width)] == [(n * per_group, per_group) for n in groups]


def test_dilated_convolutions_can_be_replaced_too():
    report = parcify(on_meta("resnet18", output_stride=16)).report
    assert report.replacements[-1].name == "layer4.1.conv2"
    assert report.replacements[-1].length == (14, 14)


def test_models_of_other_types_and_channels_stay_what_they_are():
    model = parcify(make("test_resnet", in_chans=1).double()).model
    assert {tensor.dtype for tensor in model.parameters()} == {torch.float64}
    assert model(images(1).double()).dtype == torch.float64
    half = parcify(on_meta("test_resnet").half()).model
    assert {tensor.dtype for tensor in half.parameters()} == {torch.float16}


def test_stems_that_rearrange_pixels_are_understood():
    result = parcify(on_meta("tresnet_m", in_chans=1))
    assert result.model(torch.empty(1, 1, 64, 64, device="meta")).shape == (1, 1000)


def test_a_convolution_under_two_names_is_replaced_under_both():
    model = make("test_resnet")
    model.again = model.layer4[0].conv2
    model.add_module("whole", model.layer4[0])
    twin = parcify(model, stages={3: 1}).model
    assert isinstance(twin.again, ParCConv2d)
    assert twin.again is twin.whole.conv2 is twin.layer4[0].conv2


def test_what_is_new_can_be_trained_in_a_frozen_model():
    twin = parcify(make("test_resnet").requires_grad_(False), stages={3: 1}).model
    assert {name for name, parameter in twin.named_parameters() if parameter.requires_grad} == {
        f"layer4.0.conv2.{name}" for name, _ in twin.layer4[0].conv2.named_parameters()
    }


def test_training_and_evaluation_are_taken_over():
    model = make("test_resnet")
    assert not any(part.training for part in parcify(model).model.modules())
    assert all(part.training for part in parcify(model.train()).model.modules())


def test_a_second_run_takes_the_next_convolutions():
    first = parcify(on_meta("resnet50"), stages={2: 1})
    second = parcify(first.model, stages={2: 1})
    names = [replacement.name for result in (first, second) for replacement in result.report.replacements]
    assert names == ["layer3.5.conv2", "layer3.4.conv2"]


def test_the_package_offers_it():
    assert parckit.parcify is parcify


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        (
            "test_vit",
            {},
            r"class VisionTransformer at size=(160, 160): none of 1 convolutions can become ParC: 1 outside",
        ),
        ("densenet121", {}, r"58 changing the shape of the map"),
        ("test_resnet", {"size": (1, 1)}, r"on a map of one position"),
        ("test_resnet", {"stages": {9: 1}}, r"stages={9: 1} at size=(160, 160)"),
        ("test_resnet", {"stages": {3: 2}}, r"needs 1 or more per stage, at most {0: 2, 1: 1, 3: 1}"),
        ("test_resnet", {"stages": {3: 0}}, r"stages={3: 0}"),
        ("test_resnet", {"stages": {}}, r"stages={}"),
        ("test_resnet", {"stages": [0, 0, 3, 1]}, r"stages=[0, 0, 3, 1]: must map"),
        ("test_resnet", {"stages": {3: 1.0}}, r"stages={3: 1.0}: must map"),
        ("test_resnet", {"stages": {"3": 1}}, r"stages={'3': 1}: must map"),
        ("test_resnet", {"size": (0, 64)}, r"size=(0, 64): must be"),
        ("test_resnet", {"size": 64}, r"size=64: must be (height, width)"),
        ("test_resnet", {"size": (64.0, 64.0)}, r"size=(64.0, 64.0): must be"),
        ("test_resnet", {"size": (64, 64, 64)}, r"size=(64, 64, 64): must be"),
        ("rdnet_tiny", {}, r"class RDNet: its group_matcher defines no stages"),
        ("test_resnet", {"position_embedding": "last"}, r"position_embedding='last': choose from"),
    ],
    ids=str,
)
def test_what_cannot_be_done_is_told_in_one_line(name, kwargs, said):
    assert said in refusal(on_meta(name), **kwargs)


def test_only_whole_models_are_taken():
    assert "class FeatureListNet: has no group_matcher" in refusal(on_meta("test_resnet", features_only=True))
    assert "class Linear: has no group_matcher" in refusal(nn.Linear(1, 1), size=SIZE)


def test_a_model_without_a_size_of_its_own_must_be_told_one():
    model = make("test_resnet")
    del model.pretrained_cfg
    assert "size=None" in refusal(model)
    assert parcify(model, size=SIZE).report.size == SIZE
