"""ParC-Net XS, S and H against the numbers of the official models."""

import functools

import pytest
import timm
import torch
from timm.utils import reparameterize_model

from golden_fixtures import GOLDEN, assert_official_cost, assert_official_outputs, official_model

OFFICIAL = ("parcnet_xs", "parcnet_s", "parcnet_h")
CASES = {f"{name}_{size}": name for name in ("parcnet_xs", "parcnet_s") for size in (224, 256, 320)}
CASES |= {"parcnet_h_256": "parcnet_h"}
FEATURE_CASES = {f"parcnet_s_features_os{stride}_{size}": stride for stride, size in ((16, 256), (16, 512), (8, 256))}
OURS = {  # official module -> ours
    "conv_1": "stem",
    **{f"layer_{number}": f"stages.{number - 1}" for number in range(1, 6)},
    "conv_1x1_exp": "final_conv",
    "logits": "",
    **{f"out_l{number}": f"stages.{number - 1}" for number in range(1, 6)},
    "out_l5_exp": "final_conv",
}


@pytest.fixture(scope="module")
def loaded():
    """Each official model, built once."""
    return functools.cache(official_model)


@pytest.mark.parametrize(("case_name", "name"), CASES.items())
def test_logits_and_stages_are_the_official_ones(case_name, name, loaded):
    assert_official_outputs(loaded(name), case_name, our_module=OURS.__getitem__)


@pytest.mark.parametrize(("case_name", "output_stride"), FEATURE_CASES.items())
def test_stages_at_smaller_output_strides_are_the_official_ones(case_name, output_stride):
    model = official_model("parcnet_s", output_stride=output_stride)
    assert_official_outputs(model, case_name, our_module=OURS.__getitem__)


def test_no_stored_case_is_left_out():
    assert {file.stem for file in GOLDEN.glob("parcnet_*.npz")} == CASES.keys() | FEATURE_CASES.keys()


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_multiply_adds_are_the_official_ones(name, loaded):
    assert_official_cost(loaded(name), name)


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
