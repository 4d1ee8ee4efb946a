"""ParCNetV2 XT, T, S and B, classifiers and dense backbones, against the numbers of the official models."""

import functools

import pytest
import timm
import torch
from safetensors.torch import save_file
from timm.models._features import FeatureGetterNet

from backbones import images, make
from golden_fixtures import GOLDEN, assert_official_cost, assert_official_outputs, official_model, stored_cases
from parckit.contract import InputError
from parckit.layers import OversizedConv2d
from parckit.models import load_official_state_dict
from parckit.models.official import rename_official_key

OFFICIAL = ("parcnetv2_xt", "parcnetv2_tiny", "parcnetv2_small", "parcnetv2_base")
CASES = {f"{name}_224": name for name in OFFICIAL}
CASES |= {f"parcnetv2_xt_{size}": "parcnetv2_xt" for size in ("256x320", "256x320_interp")}
DENSE = ("parcnetv2_xt", "parcnetv2_tiny")
DENSE_CASES = {f"{name}_backbone_{size}": name for name in DENSE for size in ("224x224", "256x320", "256x320_interp")}
OURS = {"downsample_layers.0": "stem", **{f"stages.{i}": f"stages.{i}" for i in range(4)}, "logits": ""}


@pytest.mark.parametrize(("case_name", "name"), CASES.items())
def test_logits_and_stages_are_the_official_ones(case_name, name):
    model = official_model(name, interpolate_kernels=case_name.endswith("_interp"))
    assert_official_outputs(model, case_name, our_module=OURS.__getitem__)


# The official dense backbones are the classifiers' classes with other norms.
@pytest.mark.parametrize(("case_name", "name"), DENSE_CASES.items())
@torch.no_grad()
def test_normed_features_are_those_of_the_official_dense_backbones(case_name, name):
    model = official_model(
        f"{name}_backbone",
        ours=name,
        interpolate_kernels=case_name.endswith("_interp"),
        feature_norms=True,
        num_classes=0,
    )
    cases = stored_cases(case_name)
    features = FeatureGetterNet(model, out_indices=(0, 1, 2, 3), norm=True)(cases[0].make_input())
    for case in cases:
        assert [*case.arrays] == ["out0", "out1", "out2", "out3"]
        for array, feature in zip(case.arrays, features, strict=True):
            case.assert_equal(array, feature)


def test_no_stored_case_is_left_out():
    assert {file.stem for file in GOLDEN.glob("parcnetv2_*.npz")} == CASES.keys() | DENSE_CASES.keys()


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_multiply_adds_are_the_official_ones(name):
    with torch.device("meta"):
        model = timm.create_model(name)
    assert_official_cost(model, name)


def test_classifiers_and_dense_backbones_do_not_take_each_others_weights():
    with pytest.raises(InputError, match=r"missing feature_norms\.0\.weight.*unexpected norm\.weight"):
        official_model("parcnetv2_xt", feature_norms=True)
    with pytest.raises(InputError, match=r"missing head\.norm\.weight.*unexpected norm0\.weight"):
        official_model("parcnetv2_xt_backbone", ours="parcnetv2_xt", num_classes=0)


def test_linear_layers_of_another_width_are_refused():
    with torch.device("meta"):
        model = timm.create_model("parcnetv2_xt")
    wrong = {"stages.0.0.mlp.fc1.weight": torch.zeros(240, 47)}
    with pytest.raises(InputError, match=r"mis-shaped stages\.0\.0\.mlp\.fc1\.weight \(240, 47\)"):
        load_official_state_dict(model, wrong)


def test_official_names_keep_blocks_and_downsampling_apart():
    expected = {
        "downsample_layers.2.pre_norm.weight": "stages.2.0.norm.weight",
        "stages.2.0.res_scale1.scale": "stages.2.1.skip1.gamma",
        "stages.0.0.mlp.fc1.bias": "stages.0.0.gate.expand.bias",
        "norm2.weight": "feature_norms.2.weight",
        "norm.bias": "head.norm.bias",
    }
    assert {key: rename_official_key(key, model="parcnetv2_xt") for key in expected} == expected


@torch.no_grad()
def test_timms_features_are_normed_where_asked_for(tmp_path):
    dense, x = make("test_parcnetv2", feature_norms=True), images(40, 48)
    save_file(dense.state_dict(), tmp_path / "dense.safetensors")
    overlay = {"file": str(tmp_path / "dense.safetensors")}
    features = functools.partial(
        timm.create_model, "test_parcnetv2", features_only=True, pretrained=True, pretrained_cfg_overlay=overlay
    )
    normed = features(feature_norms=True, out_indices=(1, 3)).eval()
    assert normed.feature_info.channels() == [12, 24]
    assert sum(path.split(".")[1] == "feature_norms" for path, _ in normed.named_parameters()) == 2
    expected = dense.forward_intermediates(x, indices=[1, 3], norm=True, intermediates_only=True)
    for normed_map, expected_map in zip(normed(x), expected, strict=True):
        torch.testing.assert_close(normed_map, expected_map, rtol=0, atol=0)


@torch.no_grad()
def test_dense_backbones_start_from_a_classifiers_weights(tmp_path):
    classifier, x = make("test_parcnetv2"), images(40, 48)
    save_file(classifier.state_dict(), tmp_path / "classifier.safetensors")
    overlay = {"file": str(tmp_path / "classifier.safetensors")}
    model = timm.create_model(
        "test_parcnetv2", features_only=True, feature_norms=True, pretrained=True, pretrained_cfg_overlay=overlay
    ).eval()
    for dense, plain in zip(model(x), classifier.forward_intermediates(x, intermediates_only=True), strict=True):
        centred = plain - plain.mean(1, keepdim=True)
        # The same float32 operations, in another order.
        torch.testing.assert_close(dense, centred / centred.norm(dim=1, keepdim=True), rtol=0, atol=1e-6)


def test_norms_that_are_not_there_are_refused():
    model = timm.create_model("test_parcnetv2")
    with pytest.raises(ValueError, match="norm=True: needs a model made with feature_norms=True"):
        model.forward_intermediates(images(40, 48), norm=True)
    # Layer by layer, as this class of timm's runs a network, there is no place beside the path.
    with pytest.raises(TypeError, match="norm"):
        timm.create_model("test_parcnetv2", features_only=True, feature_norms=True, feature_cls="list")


def test_unknown_output_stride_is_refused():
    with pytest.raises(ValueError, match=r"output_stride=4: choose from 8, 16, 32"):
        timm.create_model("test_parcnetv2", output_stride=4)


@torch.no_grad()
def test_interpolated_kernels_are_the_learned_ones_at_the_native_size():
    fixed, interpolated = make("test_parcnetv2"), make("test_parcnetv2", interpolate_kernels=True)
    torch.testing.assert_close(interpolated(images(64, 64)), fixed(images(64, 64)), rtol=0, atol=0)
    assert not torch.allclose(interpolated(images(96, 64)), fixed(images(96, 64)))


@torch.no_grad()
def test_interpolated_kernels_cover_maps_of_every_size():
    # 31 taps and the local 7x7 end long before they carry the top row of 40 to the bottom one; 79 taps do.
    for interpolate, sees in ((False, False), (True, True)):
        block = make("test_parcnetv2", interpolate_kernels=interpolate).stages[0][0]
        x = torch.randn(1, 8, 40, 9, generator=torch.Generator().manual_seed(0))
        other = x.clone()
        other[:, :, 0] += 1 + torch.arange(8.0).view(1, 8, 1)  # the norm takes away what all channels share
        assert bool((block(x)[:, :, -1] - block(other)[:, :, -1]).any()) is sees


@pytest.mark.parametrize(("img_size", "lengths"), [(224, [111, 55, 27, 13]), (32, [15, 7, 3, 1]), (20, [9, 5, 3, 1])])
def test_kernels_just_cover_the_maps_of_images_of_the_native_size(img_size, lengths):
    model = timm.create_model("test_parcnetv2", img_size=img_size)
    actual = [
        next(m.weight.numel() // len(m.weight) for m in s.modules() if isinstance(m, OversizedConv2d))
        for s in model.stages
    ]
    assert actual == lengths
    sides = [stage.shape[2] for stage in model.forward_intermediates(images(img_size, img_size))[1]]
    assert lengths == [2 * side - 1 for side in sides]


@torch.no_grad()
def test_every_pixel_counts_where_the_stem_does_not_divide_the_sides():
    model, x = make("test_parcnetv2"), images(34, 33, batch=1)
    for row, column in ((33, 0), (0, 32)):
        other = x.clone()
        other[:, :, row, column] += 1
        assert not torch.equal(model.stem(other), model.stem(x))


def test_initial_weights_follow_the_official_rule():
    torch.manual_seed(0)
    model = timm.create_model("parcnetv2_xt")
    block = model.stages[3][1]
    # 5 standard errors of the deviation of n draws are 5 / sqrt(2 n): n is 512,000, 4,160, 7,056 and 320,000.
    assert block.gate.expand.weight.std().item() == pytest.approx(0.02, rel=0.005)
    assert block.mixer.height.weight.std().item() == pytest.approx(0.02, rel=0.055)
    assert model.stem.conv.weight.std().item() == pytest.approx(0.02, rel=0.045)
    assert model.head.fc.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert {parameter.abs().max().item() for path, parameter in model.named_parameters() if path.endswith("bias")} == {
        0
    }
    ones = [m for path, m in model.named_parameters() if path.endswith((".gamma", "norm.weight", "norm1.weight"))]
    assert all(torch.equal(weight, torch.ones_like(weight)) for weight in ones)


def test_skips_are_scaled_in_the_last_two_stages_alone():
    scaled = {
        path.split(".")[1] for path, _ in timm.create_model("test_parcnetv2").named_parameters() if "skip" in path
    }
    assert scaled == {"2", "3"}
