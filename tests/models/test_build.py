"""From a name to a backbone, and from a backbone to its preprocessing."""

import pytest
import timm
import torch

from parckit.contract import InputError, Preprocessing
from parckit.models import build_backbone, preprocessing_of
from parckit.models.build import image_channels


def test_the_callers_options_and_the_users_keywords_decide_the_model():
    model = build_backbone("test_parcnet", {"in_chans": 1, "drop_rate": 0.5}, num_classes=3)
    assert model(torch.zeros(2, 1, 32, 48)).shape == (2, 3)
    assert model.head.drop.p == 0.5


def test_models_of_timm_are_accepted():
    assert build_backbone("test_resnet", {}, num_classes=3)(torch.zeros(2, 3, 32, 32)).shape == (2, 3)


def test_an_unknown_name_is_refused_with_those_alike():
    with pytest.raises(InputError, match=r"^model='parcnet_xl': .*parcnet_xs") as caught:
        build_backbone("parcnet_xl", {})
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "kwargs", "said"),
    [
        ("test_parcnet", {"depth": 3}, "depth"),
        ("test_parcnet", {"output_stride": 5}, "output_stride=5"),
        ("test_parcnet", {"fusion": "sum"}, "fusion='sum'"),
        ("test_parcnet", {"pretrained": True}, "pretrained=True in the keywords"),
        ("test_parcnet", {"checkpoint_path": "a.pt"}, "checkpoint_path=a.pt in the keywords"),
        ("test_parcnet", {"num_classes": 4}, "num_classes=4 in the keywords of test_parcnet: parckit sets it"),
        ("test_parcnet.nowhere", {}, "nowhere"),
        ("test_parcnet", {"dims": [16, 32]}, "dims"),
        ("parc_resnet50", {"output_stride": 4}, "output_stride"),
    ],
    ids=str,
)
def test_what_the_model_refuses_is_the_users_mistake(name, kwargs, said):
    with pytest.raises(InputError, match=name) as caught:
        build_backbone(name, kwargs, num_classes=3)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)


def test_weights_that_do_not_exist_are_the_users_mistake():
    with pytest.raises(InputError, match=r"parcnet_xs.*No pretrained weights exist"):
        build_backbone("parcnet_xs", {}, pretrained=True)


@pytest.mark.parametrize("name", ["parcnet_xxs", "test_resnet"])
def test_preprocessing_is_that_of_the_pretrained_config(name):
    model = timm.create_model(name)
    config = model.pretrained_cfg
    expected = Preprocessing(
        size=config["input_size"][1:],
        crop_pct=config["crop_pct"],
        interpolation=config["interpolation"],
        mean=config["mean"],
        std=config["std"],
        channel_order="rgb",
    )
    assert preprocessing_of(model) == expected
    assert preprocessing_of(model, size=(48, 64)).size == (48, 64)


@pytest.mark.parametrize(
    ("name", "kwargs"),
    [
        ("test_resnet", {"in_chans": 1}),
        ("test_resnet", {"in_chans": 1, "features_only": True}),
        ("mobileone_s0", {"in_chans": 4}),  # its first convolutions are two
        ("tresnet_m", {}),  # its first convolution takes squares of pixels
        ("tresnet_m", {"in_chans": 1}),
        ("csatv2", {}),  # a cosine transform stands before its first convolution
    ],
    ids=str,
)
def test_the_images_channels_are_told_by_the_model(name, kwargs):
    with torch.device("meta"):
        model = timm.create_model(name, **kwargs)
    assert image_channels(model) == kwargs.get("in_chans", 3)


def test_what_takes_no_images_is_told():
    with pytest.raises(InputError, match="class Linear: has no convolution"):
        image_channels(torch.nn.Linear(1, 1))


@pytest.mark.parametrize(
    ("mode", "crop_pct", "expected"),
    [
        ("squash", 1.0, {"fit": "stretch"}),
        ("border", 1.0, {"fit": "contain", "fill": (128, 128, 128)}),
        ("center", 0.9, {"fit": "cover", "crop_pct": 0.9}),
        # The crop after squashing cannot be described.
        ("squash", 0.9, {"fit": "cover", "crop_pct": 0.9}),
    ],
)
def test_pictures_are_fitted_as_timm_fits_them(mode, crop_pct, expected):
    model = timm.create_model("test_resnet", pretrained_cfg_overlay={"crop_mode": mode, "crop_pct": crop_pct})
    preprocessing = preprocessing_of(model)
    assert {name: getattr(preprocessing, name) for name in expected} == expected
