import pytest
import timm
import torch
from torch import nn

import parckit.models  # noqa: F401  # registers the models
from parckit.layers import CircularConv2d, TrainingOnly
from parckit.measure.cost import count, format_count


def test_a_model_counted_by_hand():
    conv = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    model = nn.Sequential(conv, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 5))
    cost = count(model, size=(8, 12))
    assert cost.madds == 3 * 8 * 9 * 4 * 6 + 8 * 5
    assert cost.params == 3 * 8 * 9 + 8 + 8 * 5 + 5
    assert cost.stages == ()


@pytest.mark.parametrize("form", ["auto", "conv", "matmul"])
def test_circular_convolutions_count_all_taps_whatever_form_runs(form):
    conv = CircularConv2d(3, 8, axis="height")
    conv.form = form
    # At a height of 10 the 8 taps become 10.
    assert count(nn.Sequential(conv), size=(10, 12)).madds == 3 * 10 * 10 * 12


def test_what_runs_in_training_only_is_not_counted():
    model = nn.Sequential(nn.Conv2d(3, 4, 1))
    expected = count(model, size=(4, 4))
    model[0].beside = TrainingOnly(nn.Conv2d(4, 5, 1))
    assert count(model, size=(4, 4)) == expected
    assert model[0].beside is not None


def test_shared_parameters_count_once():
    shared = nn.Conv2d(3, 3, 1)
    cost = count(nn.Sequential(shared, shared), size=(4, 4))
    assert cost.params == 12
    assert cost.madds == 2 * 9 * 16


@pytest.mark.parametrize("name", ["test_parcnet", "test_resnet"])
def test_stages_are_those_of_feature_info(name):
    model = timm.create_model(name)
    cost = count(model, size=(64, 96))
    assert [(stage.module, stage.channels, stage.reduction) for stage in cost.stages] == [
        (info["module"], info["num_chs"], info["reduction"]) for info in model.feature_info
    ]
    for stage in cost.stages:
        assert (stage.height, stage.width) == (64 // stage.reduction, 96 // stage.reduction)
        submodule = model.get_submodule(stage.module)
        assert stage.params == sum(parameter.numel() for parameter in submodule.parameters())
        assert (stage.madds > 0) == any(isinstance(module, nn.Conv2d) for module in submodule.modules())
    assert 0 < sum(stage.madds for stage in cost.stages) <= cost.madds


def test_stages_that_are_no_module_are_left_out():
    with torch.device("meta"):
        model = timm.create_model("hrnet_w18_small")
    cost = count(model, size=(64, 64))
    assert "stage1" in {info["module"] for info in model.feature_info}
    assert not hasattr(model, "stage1")
    assert [stage.module for stage in cost.stages] == []
    assert cost.madds > 0


def test_counting_leaves_the_model_alone():
    model = timm.create_model("test_parcnet").train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    count(model, size=(64, 64))
    assert model.training
    assert all(module.form == "auto" for module in model.modules() if isinstance(module, CircularConv2d))
    assert not any(module._forward_hooks for module in model.modules())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize(
    ("number", "text"),
    [(4_000, "0.00 M"), (5_040_000, "5.04 M"), (944_020_000, "944.02 M"), (1_660_000_000, "1.66 G")],
)
def test_counts_are_in_millions_or_billions(number, text):
    assert format_count(number) == text
