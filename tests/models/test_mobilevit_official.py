"""timm's MobileViT XS and S against the numbers of the official models."""

import functools

import pytest
import timm
import torch

from golden_fixtures import (
    SHARED,
    assert_official_cost,
    needs_shared,
    official_input,
    official_model,
    official_state_dict,
    read_case,
)
from parckit.models import preprocessing_of
from parckit.models.official import rename_official_key

pytestmark = needs_shared

OFFICIAL = ("mobilevit_xs", "mobilevit_s")
CASES = ("mobilevit_xs_224", "mobilevit_xs_256", "mobilevit_s_224", "mobilevit_s_256", "mobilevit_s_192x288")


@pytest.fixture(scope="module")
def loaded():
    """Each official model, built once."""
    return functools.cache(official_model)


@pytest.mark.parametrize("case_name", CASES)
@torch.no_grad()
def test_logits_and_stages_are_the_official_ones(case_name, loaded):
    case = read_case(SHARED / f"{case_name}.npz")
    model = loaded(case.meta["model"])
    x = model.stem(official_input(case.meta["input_tag"], case.meta["input_shape"]))
    found = {"conv_1": x}
    for number, stage in enumerate(model.stages, start=1):
        x = stage(x)
        found[f"layer_{number}"] = x
    found["conv_1x1_exp"] = model.final_conv(x)
    found["logits"] = model.forward_head(found["conv_1x1_exp"])
    assert {"logits"} <= case.arrays.keys() <= found.keys()
    for name in case.arrays:
        case.assert_equal(name, found[name])


def test_no_stored_case_is_left_out():
    assert {file.stem for file in SHARED.glob("mobilevit_*.npz")} == {*CASES}


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_key_is_renamed_to_one_of_timms(name):
    ours = [rename_official_key(key, model=name) for key in official_state_dict(name)]
    assert sorted(ours) == sorted(timm.create_model(name).state_dict())


@pytest.mark.parametrize("name", OFFICIAL)
def test_the_size_is_the_official_one(name, loaded):
    # Tokens of an odd map are interpolated, which no multiply-add is counted for, here or there.
    assert_official_cost(loaded(name), name)


def test_what_the_weights_expect_is_noted(loaded):
    found = preprocessing_of(loaded("mobilevit_s"))
    assert (found.channel_order, found.mean, found.std) == ("bgr", (0, 0, 0), (1, 1, 1))
    assert (found.size, found.resize_size, found.interpolation) == ((256, 256), (288, 288), "bilinear")
