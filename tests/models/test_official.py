"""Loading official state dicts: what is accepted, and what is said of one that does not fit."""

from copy import deepcopy

import pytest
import timm
import torch
from torch import Tensor, nn

from golden_fixtures import official_state_dict, read_keys
from parckit.contract import InputError
from parckit.models import load_official_state_dict, preprocessing_of
from parckit.models.official import rename_official_key

NAME = "parcnet_xs"


@pytest.fixture(scope="module")
def fresh() -> nn.Module:
    return timm.create_model(NAME).eval()


@pytest.fixture
def model(fresh: nn.Module) -> nn.Module:
    return deepcopy(fresh)


@pytest.fixture
def official() -> dict[str, Tensor]:
    return dict(official_state_dict(NAME))


def refusal(model: nn.Module, state_dict: dict[str, object]) -> str:
    """Return what loading says, and check that it left the model as it was."""
    before = {key: tensor.clone() for key, tensor in model.state_dict().items()}
    config = dict(model.pretrained_cfg)
    with pytest.raises(InputError) as caught:
        load_official_state_dict(model, state_dict)
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
    assert model.pretrained_cfg == config
    assert "\n" not in str(caught.value)
    return str(caught.value)


def assert_loaded(model: nn.Module, official: dict[str, Tensor]) -> None:
    ours = model.state_dict()
    for key, tensor in official.items():
        if (name := rename_official_key(key, model=NAME)) is not None:
            torch.testing.assert_close(ours[name], tensor, rtol=0, atol=0)


@pytest.mark.parametrize(
    "wrap",
    [
        lambda weights: weights,
        lambda weights: {"model": weights},
        lambda weights: {"state_dict": weights},
        lambda weights: {"ema_state_dict": weights},
        lambda weights: {"model_ema": weights},
        lambda weights: {"model_state_dict": weights, "epoch": 300, "optim_state_dict": {"state": {}}},
        lambda weights: {"model": {"state_dict": weights}},
        lambda weights: {f"module.{key}": tensor for key, tensor in weights.items()},
        lambda weights: {"state_dict": {f"module.{key}": tensor for key, tensor in weights.items()}},
    ],
    ids=["bare", "model", "state_dict", "ema", "model_ema", "training", "twice", "module.", "module. inside"],
)
def test_wrapped_weights_are_found(wrap, model, official):
    load_official_state_dict(model, wrap(official))
    assert_loaded(model, official)


def test_the_aliases_and_nothing_else_are_dropped(official):
    dropped = {key for key in official if rename_official_key(key, model=NAME) is None}
    assert dropped == read_keys(NAME)["aliases"].keys()
    kept = [rename_official_key(key, model=NAME) for key in official if key not in dropped]
    assert len(set(kept)) == len(kept)


def test_weights_without_aliases_are_accepted(model, official):
    unique = {key: tensor for key, tensor in official.items() if not key.startswith("residual.")}
    load_official_state_dict(model, unique)
    assert_loaded(model, official)


def test_every_fault_is_named_at_once(model, official):
    del official["conv_1.block.conv.weight"], official["layer_3.1.spatial_global_rep.0.meta_pe_1_H"]
    official["layer_9.weight"] = torch.zeros(1)
    official["classifier.fc.weight"] = torch.zeros(10, 640)
    official["layer_4.1.spatial_global_rep.1.meta_kernel_2_W"] = torch.zeros(64, 1, 16, 1)
    said = refusal(model, official)
    assert "(5 keys)" in said
    for fault in (
        "missing stem.conv.weight",
        "missing stages.2.1.blocks.0.height_first.pe1.weight",
        "unexpected layer_9.weight",
        "mis-shaped classifier.fc.weight (10, 640), needs (1000, 640)",
        "mis-shaped layer_4.1.spatial_global_rep.1.meta_kernel_2_W (64, 1, 16, 1), needs (64, 1, 1, 16)",
    ):
        assert fault in said


def test_weights_of_another_variant_are_refused(model):
    assert "mis-shaped" in refusal(model, dict(official_state_dict("parcnet_s")))


@pytest.mark.parametrize(
    ("state_dict", "said"),
    [({}, "empty"), ({"epoch": 3}, "epoch"), ({"model": {}}, "empty"), ({0: torch.ones(1), 1: "x"}, "tensors: 0, 1")],
    ids=str,
)
def test_what_holds_no_weights_is_refused(state_dict, said, model):
    assert said in refusal(model, state_dict)


def test_entries_that_are_no_tensors_are_named(model, official):
    assert "epoch" in refusal(model, official | {"epoch": 3})


@pytest.mark.parametrize("name", ["test_resnet", "parcnet_xxs"])
def test_a_model_without_official_weights_is_refused(name, official):
    said = refusal(timm.create_model(name), official)
    assert said.startswith(f"model='{name}': official weights exist for parcnet_xs, parcnet_s, ")


def test_a_network_that_timm_did_not_make_is_refused(official):
    with pytest.raises(InputError, match="model='Linear': official weights exist for"):
        load_official_state_dict(nn.Linear(2, 2), official)


@pytest.mark.parametrize("feature_cls", ["list", "getter", "hook"])
def test_half_a_model_is_refused(feature_cls, official):
    assert "features_only=True: load into the whole" in refusal(
        timm.create_model(NAME, features_only=True, feature_cls=feature_cls), official
    )


def test_a_model_without_classes_leaves_the_classifier_out(official):
    model = timm.create_model(NAME, num_classes=0)
    load_official_state_dict(model, official)
    assert_loaded(model, {key: tensor for key, tensor in official.items() if not key.startswith("classifier.")})


def test_a_classifier_of_another_size_is_refused(official):
    said = refusal(timm.create_model(NAME, num_classes=10), official)
    assert "(2 keys)" in said
    assert "mis-shaped classifier.fc.weight (1000, 640), needs (10, 640)" in said


def test_what_the_weights_expect_is_noted(model, official):
    assert preprocessing_of(model).channel_order == "rgb"
    load_official_state_dict(model, official)
    preprocessing = preprocessing_of(model)
    assert (preprocessing.channel_order, preprocessing.mean, preprocessing.std) == ("bgr", (0, 0, 0), (1, 1, 1))
    assert (preprocessing.size, preprocessing.resize_size) == ((256, 256), (288, 288))
    # The note is this model's own.
    assert preprocessing_of(timm.create_model(NAME)).channel_order == "rgb"


def test_the_models_own_buffers_and_parameters_are_written(model, official):
    before = {key: tensor.data_ptr() for key, tensor in model.state_dict().items()}
    load_official_state_dict(model, official)
    assert {key: tensor.data_ptr() for key, tensor in model.state_dict().items()} == before
