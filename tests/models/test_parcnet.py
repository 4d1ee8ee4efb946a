"""ParC-Net XS, S and H against the numbers of the official models."""

import functools

import pytest
import timm
import torch
from timm.utils import reparameterize_model
from torch import nn

from golden_fixtures import (
    GOLDEN,
    OFFICIAL,
    SHARED,
    Case,
    needs_shared,
    official_input,
    official_model,
    read_case,
    read_keys,
)

STAGE_CASES = ("parcnet_xs_256", "parcnet_s_256", "parcnet_h_256")
FEATURE_CASES = {
    f"parcnet_s_features_os{stride}_{size}": stride for stride, size in ((32, 256), (16, 256), (16, 512), (8, 256))
}


@pytest.fixture(scope="module")
def loaded():
    """Each official model, built once."""
    return functools.cache(official_model)


def input_of(case: Case) -> torch.Tensor:
    return official_input(case.meta["input_tag"], case.meta["input_shape"])


@pytest.mark.parametrize("size", [224, 320])
@pytest.mark.parametrize("name", OFFICIAL)
@torch.no_grad()
def test_logits_are_the_official_ones(name, size, loaded):
    case = read_case(GOLDEN / f"{name}_{size}.npz")
    case.assert_equal("logits", loaded(name)(input_of(case)))


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_are_as_many_as_the_official_ones(name, loaded):
    assert sum(parameter.numel() for parameter in loaded(name).parameters()) == read_keys(name)["params"]


@needs_shared
@pytest.mark.parametrize("case_name", STAGE_CASES)
@torch.no_grad()
def test_every_stage_gives_the_official_map(case_name, loaded):
    case = read_case(SHARED / f"{case_name}.npz")
    model = loaded(case.meta["model"])
    x = model.stem(input_of(case))
    found = {"conv_1": x}
    for number, stage in enumerate(model.stages, start=1):
        x = stage(x)
        found[f"layer_{number}"] = x
    found["conv_1x1_exp"] = model.final_conv(x)
    found["logits"] = model.forward_head(found["conv_1x1_exp"])
    assert found.keys() == case.arrays.keys()
    for name, tensor in found.items():
        case.assert_equal(name, tensor)


@needs_shared
@pytest.mark.parametrize(("case_name", "output_stride"), FEATURE_CASES.items())
@torch.no_grad()
def test_features_at_every_output_stride_are_the_official_ones(case_name, output_stride):
    case = read_case(SHARED / f"{case_name}.npz")
    assert case.meta.get("output_stride", 32) == output_stride
    x = input_of(case)
    model = official_model("parcnet_s", output_stride=output_stride)
    features = features_of(model, output_stride=output_stride)
    found = {f"out_l{number}": tensor for number, tensor in enumerate(features(x), start=1)}
    found |= {"conv_1": features["stem"](x), "out_l5_exp": model.forward_features(x)}
    assert found.keys() == case.arrays.keys()
    for name, tensor in found.items():
        case.assert_equal(name, tensor)


def features_of(model: nn.Module, *, output_stride: int) -> nn.ModuleDict:
    """The weights of `model` in what timm gives for `features_only`, which calls `stages.0` `stages_0`."""
    features = timm.create_model("parcnet_s", features_only=True, output_stride=output_stride).eval()
    weights = {key.replace("stages.", "stages_", 1): tensor for key, tensor in model.state_dict().items()}
    features.load_state_dict({key: weights[key] for key in features.state_dict()})
    return features


@needs_shared
def test_no_stored_case_is_left_out():
    stored = {file.stem for file in SHARED.glob("parcnet_*.npz")}
    logits = {f"{name}_{size}" for name in OFFICIAL for size in (224, 320)}
    assert stored == logits | {*STAGE_CASES} | FEATURE_CASES.keys()


def test_unknown_output_stride_is_refused():
    with pytest.raises(ValueError, match=r"output_stride=4: choose from 8, 16, 32"):
        timm.create_model("test_parcnet", output_stride=4)


def test_only_the_convolution_behind_a_removed_stride_is_dilated():
    # The official models dilate at output stride 8 alone, and there one depthwise 3x3 alone.
    model = timm.create_model("test_parcnet", output_stride=8)
    dilated = {name for name, module in model.named_modules() if getattr(module, "dilation", (1, 1)) == (2, 2)}
    assert dilated == {"stages.4.0.depthwise.conv"}


def test_initial_weights_follow_the_official_rule():
    torch.manual_seed(0)
    model = timm.create_model("parcnet_s")
    convolution, embedding = model.stages[4][1].fusion_conv.conv, model.stages[2][1].blocks[0].height_first.pe1
    kernel = model.stages[2][1].blocks[0].height_first.conv1.weight
    # Standard deviations of 460,800 and 3,072 draws: 5 standard errors are 0.5 % and 6.5 %.
    assert convolution.weight.std().item() == pytest.approx((2 / (9 * 160)) ** 0.5, rel=0.005)
    assert embedding.weight.std().item() == pytest.approx(1, rel=0.065)
    assert kernel.abs().max().item() == pytest.approx(32**-0.5, rel=0.01)
    assert kernel.abs().max().item() <= 32**-0.5
    assert model.head.fc.weight.std().item() == pytest.approx(0.02, rel=0.005)
    assert model.head.fc.bias.abs().max().item() == 0


def test_timm_finds_nothing_to_merge():
    # timm calls whatever a module holds under the name `fuse`, so that no part may have it.
    model = timm.create_model("test_parcnet").eval()
    assert [*reparameterize_model(model).state_dict()] == [*model.state_dict()]
