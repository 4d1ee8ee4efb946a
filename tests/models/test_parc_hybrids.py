"""ParC-ConvNeXt-XT, ParC-ResNet-50 and ParC-MobileNetV2: the official numbers, made by parcify of their twins."""

import functools

import pytest
import timm
import torch
from torch import Tensor, nn

from golden_fixtures import (
    SHARED,
    assert_official_cost,
    needs_shared,
    official_input,
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


def our_name(name: str, module: str) -> str:
    if module in OURS:
        return OURS[module]
    if module.startswith("stages."):
        return module
    return rename_official_key(f"{module}.", model=name).rstrip(".")


def outputs(model: nn.Module, x: Tensor, modules: list[str]) -> list[Tensor]:
    """Run the model; return what some of its modules give."""
    found: dict[str, Tensor] = {}
    hooks = [
        model.get_submodule(module).register_forward_hook(lambda *args, module=module: found.update({module: args[2]}))
        for module in modules
    ]
    model(x)
    for hook in hooks:
        hook.remove()
    return [found[module] for module in modules]


@needs_shared
@pytest.mark.parametrize(("case_name", "name"), CASES.items())
@torch.no_grad()
def test_logits_and_stages_are_the_official_ones(case_name, name, loaded):
    case = read_case(SHARED / f"{case_name}.npz")
    x = official_input(case.meta["input_tag"], case.meta["input_shape"])
    found = outputs(loaded(name), x, [our_name(name, module) for module in case.arrays])
    for stored, tensor in zip(case.arrays, found, strict=True):
        case.assert_equal(stored, tensor)


@needs_shared
@pytest.mark.parametrize(("name", "theirs"), OFFICIAL.items())
def test_cost_is_the_official_one(name, theirs, loaded):
    assert_official_cost(loaded(name), theirs)


@needs_shared
@hybrids
@torch.no_grad()
def test_without_embeddings_the_numbers_are_others(name, loaded):
    case = read_case(SHARED / f"{OFFICIAL[name]}_224.npz")
    model = timm.create_model(name).eval()
    model.load_state_dict(loaded(name).state_dict())
    for module in model.modules():
        if isinstance(module, ParCConv2d):
            module.pe_width = nn.Identity()
    with pytest.raises(AssertionError):
        case.assert_equal("logits", model(official_input(case.meta["input_tag"], case.meta["input_shape"])))


@hybrids
def test_parcify_makes_the_hybrid_of_its_twin(name):
    twin, stages, position_embedding = TWINS[name]
    with torch.device("meta"):
        made = parcify(timm.create_model(twin), stages=stages, position_embedding=position_embedding).model
        hybrid = timm.create_model(name)
    shapes, expected = ({key: tensor.shape for key, tensor in model.state_dict().items()} for model in (made, hybrid))
    assert list(shapes.items()) == list(expected.items())
    assert type(made) is type(hybrid)


@pytest.mark.parametrize("size", [(224, 160), (65, 97)], ids=str)
@hybrids
@torch.no_grad()
def test_other_sizes_run(name, size):
    model = timm.create_model(name).eval()
    out = model(torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0)))
    assert out.shape == (1, 1000)
    assert out.isfinite().all()


@hybrids
def test_the_native_lengths_follow_the_image_size(name):
    with torch.device("meta"):
        model = timm.create_model(name, img_size=128)
    lengths = [m.height.weight.shape[2] for m in model.modules() if isinstance(m, ParCConv2d)]
    assert lengths == [8, 8, 8, 4]


@hybrids
def test_an_image_too_small_for_a_map_is_refused(name):
    with torch.device("meta"), pytest.raises(InputError, match=r"size=\(32, 32\)") as caught:
        timm.create_model(name, img_size=32)
    assert "\n" not in str(caught.value)


@hybrids
def test_the_image_may_be_any_rectangle(name):
    with torch.device("meta"):
        model = timm.create_model(name, img_size=(128, 256))
    lengths = [(m.height.weight.shape[2], m.width.weight.shape[3]) for m in model.modules() if type(m) is ParCConv2d]
    assert lengths == [(8, 16)] * 3 + [(4, 8)]
    with pytest.raises(InputError, match=r"size=\('a', 'a'\)"):
        timm.create_model(name, img_size="a")


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("parc_convnext_xt", {"dims": (16,) * 4}),
        ("parc_resnet50", {"base_width": 128, "in_chans": 4}),
        ("parc_resnet50", {"cardinality": 32, "base_width": 4}),
    ],
    ids=str,
)
def test_the_twins_options_are_the_hybrids_too(name, options):
    with torch.device("meta"):
        model = timm.create_model(name, **options)
        assert model(torch.empty(1, options.get("in_chans", 3), 64, 96)).shape == (1, 1000)


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


@pytest.mark.parametrize("output_stride", [8, 16])
@hybrids
def test_weights_fit_every_output_stride(name, output_stride):
    with torch.device("meta"):
        strided, plain = timm.create_model(name, output_stride=output_stride), timm.create_model(name)
    shapes, expected = ({k: t.shape for k, t in model.state_dict().items()} for model in (strided, plain))
    assert shapes == expected
    assert strided.feature_info[-1]["reduction"] == output_stride
    assert strided.forward_features(torch.empty(1, 3, 224, 224, device="meta")).shape[2] == 224 // output_stride


@hybrids
@torch.no_grad()
def test_features_are_the_whole_models(name):
    whole = timm.create_model(name).eval()
    features = timm.create_model(name, features_only=True).eval()
    assert features.feature_info.channels() == [stage["num_chs"] for stage in whole.feature_info]
    weights = iter(whole.state_dict().values())
    features.load_state_dict({key: next(weights) for key in features.state_dict()})
    x = torch.randn(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    expected = whole.forward_intermediates(x, intermediates_only=True)
    for found, wanted in zip(features(x), expected, strict=True):
        torch.testing.assert_close(found, wanted, rtol=0, atol=0)


def test_weights_of_another_network_are_refused():
    with torch.device("meta"):
        model = timm.create_model("parc_mobilenetv2")
    with pytest.raises(InputError, match=r"unexpected features\.28\.weight"):  # as VGG's are called
        load_official_state_dict(model, {"features.28.weight": torch.ones(1)})


@needs_shared
def test_official_weights_of_the_twin_do_not_fit_the_hybrid():
    with torch.device("meta"):
        model = timm.create_model("parc_convnext_xt")
    with pytest.raises(InputError, match=r"unexpected stages\.2\.6\.dwconv\.weight"):
        load_official_state_dict(model, official_state_dict("convnext_xt"))
