"""The feature maps that every model of this package gives to heads: channels and strides as promised."""

import pytest
import torch
from safetensors.torch import save_file

from backbones import (
    KINDS,
    OURS,
    SMALLEST,
    assert_close,
    assert_reduced,
    fresh,
    has_output_stride,
    hollow,
    images,
    make,
    on_meta,
    sizes_of,
)

smallest = pytest.mark.parametrize("name", SMALLEST)
# For what the hybrids have from timm.
ours = pytest.mark.parametrize("name", OURS)
# As in timm, what attends has no `output_stride`, and says so by a TypeError.
STRIDES = [(name, 32) for name in KINDS]
STRIDES += [(name, stride) for name in SMALLEST if has_output_stride(name) for stride in (16, 8)]


@pytest.mark.parametrize(("name", "output_stride"), STRIDES)
@torch.no_grad()
def test_features_have_the_promised_channels_and_strides(name, output_stride):
    options = {"output_stride": output_stride} if has_output_stride(name) else {}
    model = hollow(name, features_only=True, **options)
    info = model.feature_info
    assert 8 <= max(info.reduction()) <= output_stride
    assert info.reduction() == sorted(info.reduction())
    assert len(info.channels()) == len(on_meta(name).feature_info)
    for size in sizes_of(name)[1:3]:
        promised = zip(info.channels(), info.reduction(), strict=True)
        for feature, (channels, reduction) in zip(model(images(*size)), promised, strict=True):
            assert feature.shape[:2] == (2, channels)
            assert_reduced(feature.shape[2:], size, reduction)


@smallest
@torch.no_grad()
def test_any_of_the_features_can_be_chosen(name):
    model = hollow(name, features_only=True, out_indices=(0, 2))
    everything = on_meta(name).feature_info
    expected = [everything[i]["num_chs"] for i in (0, 2)]
    assert model.feature_info.channels() == expected
    assert [feature.shape[1] for feature in model(images(33, 65))] == expected


@ours
@torch.no_grad()
def test_features_are_the_intermediates(name):
    model, x = make(name), images(33, 65)
    final, intermediates = model.forward_intermediates(x)
    assert_close(final, model.forward_features(x))
    assert len(intermediates) == len(model.feature_info)
    for indices in ([1, 3], 2):
        selected = model.forward_intermediates(x, indices=indices, intermediates_only=True, stop_early=True)
        expected = intermediates[-indices:] if isinstance(indices, int) else [intermediates[i] for i in indices]
        assert len(selected) == len(expected)
        for feature, intermediate in zip(selected, expected, strict=True):
            assert_close(feature, intermediate)
    with pytest.raises((ValueError, AssertionError), match="NCHW"):
        model.forward_intermediates(x, output_fmt="NLC")


@ours
@torch.no_grad()
def test_stopping_early_leaves_later_stages_out(name):
    model, x, ran = make(name), images(33, 65), []
    model.get_submodule(model.feature_info[3]["module"]).register_forward_hook(lambda *args: ran.append(args))
    model.forward_intermediates(x, indices=[2], intermediates_only=True, stop_early=True)
    assert not ran
    model.forward_intermediates(x, indices=[2], intermediates_only=True)
    assert ran


@smallest
@torch.no_grad()
def test_both_ways_of_timm_to_get_features_agree(name, tmp_path):
    x = images(40, 48)
    save_file(make(name).state_dict(), tmp_path / "weights.safetensors")
    overlay = {"file": str(tmp_path / "weights.safetensors")}
    listed, got = (
        fresh(name, features_only=True, feature_cls=feature_cls, pretrained=True, pretrained_cfg_overlay=overlay).eval()
        for feature_cls in ("list", "getter")
    )
    expected = make(name).forward_intermediates(x, intermediates_only=True)
    for features in (listed(x), got(x)):
        for feature, intermediate in zip(features, expected, strict=True):
            assert_close(feature, intermediate)


@ours
@torch.no_grad()
def test_torch_fx_gets_the_same_features(name):
    def build(**how: str) -> torch.nn.Module:
        torch.manual_seed(0)
        return fresh(name, features_only=True, **how).eval()

    x = images(40, 48)
    for actual, expected in zip(build(feature_cls="fx")(x), build()(x), strict=True):
        torch.testing.assert_close(actual, expected, rtol=0, atol=0)


@ours
def test_what_lies_behind_the_chosen_stages_can_be_cut_off(name):
    model, x = make(name), images(40, 48)
    expected = model.forward_intermediates(x, indices=[1], intermediates_only=True)[0]
    assert model.prune_intermediate_layers([1]) == [1]
    assert_close(model(x), expected)
    assert model.num_classes == 0
