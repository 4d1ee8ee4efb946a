"""timm's MobileViT XS and S against the numbers of the official models."""

import functools

import pytest
import timm
import torch

from golden_fixtures import (
    GOLDEN,
    assert_official_cost,
    assert_official_outputs,
    official_model,
    read_keys,
)
from parckit.models import preprocessing_of
from parckit.models.official import rename_official_key

OFFICIAL = ("mobilevit_xs", "mobilevit_s")
CASES = {
    "mobilevit_xs_224": "mobilevit_xs",
    "mobilevit_xs_256": "mobilevit_xs",
    "mobilevit_s_224": "mobilevit_s",
    "mobilevit_s_256": "mobilevit_s",
    "mobilevit_s_192x288": "mobilevit_s",
}
OURS = {  # official module -> timm's
    "conv_1": "stem",
    **{f"layer_{number}": f"stages.{number - 1}" for number in range(1, 6)},
    "conv_1x1_exp": "final_conv",
    "logits": "",
}


@pytest.fixture(scope="module")
def loaded():
    """Each official model, built once."""
    return functools.cache(official_model)


@pytest.mark.parametrize(("case_name", "name"), CASES.items())
def test_logits_and_stages_are_the_official_ones(case_name, name, loaded):
    assert_official_outputs(loaded(name), case_name, our_module=OURS.__getitem__)


def test_no_stored_case_is_left_out():
    assert {file.stem for file in GOLDEN.glob("mobilevit_*.npz")} == CASES.keys()


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_key_is_renamed_to_one_of_timms(name):
    ours = [rename_official_key(key, model=name) for key in read_keys(name)["state_dict"]]
    with torch.device("meta"):
        assert sorted(ours) == sorted(timm.create_model(name).state_dict())


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_size_is_the_official_one(name, loaded):
    # Tokens of an odd map are interpolated, which no multiply-add is counted for, here or there.
    assert_official_cost(loaded(name), name)


def test_what_the_weights_expect_is_noted(loaded):
    preprocessing = preprocessing_of(loaded("mobilevit_s"))
    assert (preprocessing.channel_order, preprocessing.mean, preprocessing.std) == ("bgr", (0, 0, 0), (1, 1, 1))
    assert (preprocessing.size, preprocessing.resize_size, preprocessing.interpolation) == (
        (256, 256),
        (288, 288),
        "bilinear",
    )
