"""ParC-ConvNeXt-XT, ParC-ResNet-50 and ParC-MobileNetV2: the official numbers, made by parcify of their twins."""

import functools

import pytest
import timm
import torch
from torch import nn

from backbones import on_meta
from golden_fixtures import (
    GOLDEN,
    assert_official_cost,
    assert_official_outputs,
    official_model,
    official_state_dict,
    read_case,
)
from parckit.contract import InputError
from parckit.layers import ParCConv2d
from parckit.models import load_official_state_dict, parcify
from parckit.models.official import rename_official_key

OFFICIAL = {
    "convnext_xt": "convnext_xt",
    "parc_convnext_xt": "parc_convnext_xt",
    "parc_resnet50": "parc_res50",
    "parc_mobilenetv2": "parc_mv2",
}
CASES = {
    "convnext_xt_224": "convnext_xt",
    "convnext_xt_256x320": "convnext_xt",
    "parc_convnext_xt_224": "parc_convnext_xt",
    "parc_res50_224": "parc_resnet50",
    "parc_mv2_224": "parc_mobilenetv2",
}
TWINS = {
    "parc_convnext_xt": ("convnext_xt", {2: 3, 3: 1}, "every"),
    "parc_resnet50": ("resnet50", {2: 3, 3: 1}, "every"),
    "parc_resnet10t": ("resnet10t", {2: 1, 3: 1}, "every"),
    "parc_mobilenetv2": ("mobilenetv2_100", {3: 2, 4: 1, 5: 1}, "first"),
}
OURS = {  # what the modules of the cases are called here, where renaming a key of theirs does not tell
    "downsample_layers.0": "stem",
    "features.0": "bn1",
    "features.18": "bn2",
    "logits": "",
    "maxpool": "maxpool",
}

hybrids = pytest.mark.parametrize("name", TWINS)


@pytest.fixture(scope="module")
def loaded():
    """Each model with the official weights, built once."""
    return functools.cache(lambda name: official_model(OFFICIAL[name], ours=name))


def our_module(official: str, *, model: str) -> str:
    if official in OURS:
        return OURS[official]
    if official.startswith("stages."):
        return official
    return rename_official_key(f"{official}.", model=model).rstrip(".")


@pytest.mark.parametrize(("case_name", "name"), CASES.items())
def test_logits_and_stages_are_the_official_ones(case_name, name, loaded):
    assert_official_outputs(loaded(name), case_name, our_module=functools.partial(our_module, model=name))


def test_no_stored_case_is_left_out():
    stored = {file.stem for kind in ("convnext", "parc") for file in GOLDEN.glob(f"{kind}_*.npz")}
    assert stored == CASES.keys()


@pytest.mark.parametrize(("name", "theirs"), OFFICIAL.items())
def test_parameters_and_multiply_adds_are_the_official_ones(name, theirs, loaded):
    assert_official_cost(loaded(name), theirs)


@torch.no_grad()
def test_without_embeddings_the_numbers_are_others():
    case = read_case(GOLDEN / "parc_mv2_224.npz")
    model = official_model("parc_mv2", ours="parc_mobilenetv2")
    for module in model.modules():
        if isinstance(module, ParCConv2d):
            module.pe_width = nn.Identity()
    with pytest.raises(AssertionError):
        case.assert_equal("logits", model(case.make_input()))


@pytest.mark.parametrize("name", ["parc_convnext_xt", "parc_resnet10t", "parc_mobilenetv2"])
def test_parcify_makes_the_hybrid_of_its_twin(name):
    twin, stages, position_embedding = TWINS[name]
    with torch.device("meta"):
        made = parcify(timm.create_model(twin), stages=stages, position_embedding=position_embedding).model
        hybrid = timm.create_model(name)
    shapes, expected = ({key: tensor.shape for key, tensor in model.state_dict().items()} for model in (made, hybrid))
    assert list(shapes.items()) == list(expected.items())
    assert type(made) is type(hybrid)


@hybrids
def test_the_native_lengths_follow_the_image_size(name):
    model = on_meta(name, img_size=128)
    lengths = [m.height.weight.shape[2] for m in model.modules() if isinstance(m, ParCConv2d)]
    assert lengths == [8] * (len(lengths) - 1) + [4]


@hybrids
def test_an_image_too_small_for_a_map_is_refused(name):
    with pytest.raises(InputError, match=r"size=\(32, 32\)") as caught:
        on_meta(name, img_size=32)
    assert "\n" not in str(caught.value)


@hybrids
def test_the_image_may_be_any_rectangle(name):
    model = on_meta(name, img_size=(128, 256))
    lengths = [(m.height.weight.shape[2], m.width.weight.shape[3]) for m in model.modules() if type(m) is ParCConv2d]
    assert lengths == [(8, 16)] * (len(lengths) - 1) + [(4, 8)]
    with pytest.raises(InputError, match=r"size=\('a', 'a'\)"):
        on_meta(name, img_size="a")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("parc_convnext_xt", {"dims": (16,) * 4}),
        ("parc_resnet50", {"base_width": 128, "in_chans": 4, "layers": (1, 1, 4, 2)}),
        ("parc_resnet50", {"cardinality": 32, "base_width": 4, "layers": (1, 1, 4, 2)}),
    ],
    ids=str,
)
def test_the_twins_options_are_the_hybrids_too(name, options):
    with torch.device("meta"):
        model = timm.create_model(name, **options)
    assert model(torch.empty(1, options.get("in_chans", 3), 64, 96, device="meta")).shape == (1, 1000)


def test_stages_too_short_for_the_hybrid_are_told_in_one_line():
    with (
        torch.device("meta"),
        pytest.raises(InputError, match=r"stages={2: 3, 3: 1} at size=.*at most {0: 1") as caught,
    ):
        timm.create_model("parc_convnext_xt", depths=(1, 1, 1, 1))
    assert "\n" not in str(caught.value)


def test_nobody_but_parc_nets_authors_trained_the_twin():
    cfg = timm.get_pretrained_cfg("convnext_xt")
    assert (cfg.license, cfg.origin_url) == ("none stated", "https://github.com/hkzhang91/ParC-Net")
    assert cfg.paper_ids == "arXiv:2201.03545"


@pytest.mark.parametrize("name", ["parc_resnet10t", "parc_mobilenetv2"])
def test_weights_fit_every_output_stride(name):
    shapes, expected = (
        {key: tensor.shape for key, tensor in model.state_dict().items()}
        for model in (on_meta(name, output_stride=8), on_meta(name))
    )
    assert shapes == expected


def test_weights_of_another_network_are_refused():
    with torch.device("meta"):
        model = timm.create_model("parc_mobilenetv2")
    with pytest.raises(InputError, match=r"unexpected features\.28\.weight"):  # as VGG's are called
        load_official_state_dict(model, {"features.28.weight": torch.ones(1)})


def test_official_weights_of_the_twin_do_not_fit_the_hybrid():
    with torch.device("meta"):
        model = timm.create_model("parc_convnext_xt")
    with pytest.raises(InputError, match=r"unexpected stages\.2\.6\.dwconv\.weight"):
        load_official_state_dict(model, official_state_dict("convnext_xt"))
