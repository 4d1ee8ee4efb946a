"""EdgeViT XXS, XS and S against the numbers of the official models; what ParC makes of EdgeViT-XS."""

import functools

import numpy as np
import pytest
import timm
import torch
from torch import nn

from golden_fixtures import (
    GOLDEN,
    assert_official_cost,
    assert_official_outputs,
    official_model,
    read_case,
    read_keys,
)
from parckit.layers import ParCConv2d, ParCMixer, SparseAttention
from parckit.models.official import rename_official_key

OFFICIAL = ("edgevit_xxs", "edgevit_xs", "edgevit_s")
CASES = {
    "edgevit_xxs_224": "edgevit_xxs",
    "edgevit_xs_224": "edgevit_xs",
    "edgevit_xs_256": "edgevit_xs",
    "edgevit_s_224": "edgevit_s",
}


@pytest.fixture(scope="module")
def loaded():
    """Each official model, built once."""
    return functools.cache(official_model)


def our_module(name: str) -> str:
    return rename_official_key(f"{name}.", model="edgevit_xs").rstrip(".").replace("logits", "")


@pytest.mark.parametrize(("case_name", "name"), CASES.items())
def test_logits_and_stages_are_the_official_ones(case_name, name, loaded):
    assert_official_outputs(loaded(name), case_name, our_module=our_module)


@torch.no_grad()
def test_every_epsilon_is_the_official_one():
    # A correct model in float64 differs from the official float32 logits by `f64_maxabs`, their own rounding error.
    # A wrong epsilon in the norms of blocks or patches makes that 2.5 times as much and more; float32 would hide it.
    case = read_case(GOLDEN / "edgevit_xxs_224.npz")
    logits = official_model("edgevit_xxs").double()(case.make_input().double())
    distance = np.abs(logits.numpy() - case.arrays["logits"]).max()
    assert distance <= 1.5 * case.meta["arrays"]["logits"]["f64_maxabs"]


def test_no_stored_case_is_left_out():
    assert {file.stem for file in GOLDEN.glob("edgevit_*.npz")} == CASES.keys()


@pytest.mark.parametrize("name", OFFICIAL)
def test_every_key_is_renamed_to_one_of_ours(name):
    ours = [rename_official_key(key, model=name) for key in read_keys(name)["state_dict"]]
    with torch.device("meta"):
        assert sorted(ours) == sorted(timm.create_model(name).state_dict())


@pytest.mark.parametrize("name", OFFICIAL)
def test_parameters_and_multiply_adds_are_the_official_ones(name, loaded):
    assert_official_cost(loaded(name), name)


def test_the_last_two_stages_of_the_parc_variant_mix_by_circular_convolution():
    model = timm.create_model("parc_edgevit_xs")
    mixers = [[type(block.global_mix.mixer) for block in [*stage][1:]] for stage in model.stages]
    assert mixers == [[SparseAttention], [SparseAttention], [ParCMixer] * 3, [ParCMixer]]
    lengths = [module.height.weight.shape[2] for module in model.modules() if isinstance(module, ParCConv2d)]
    assert lengths == [14, 14, 14, 7]  # the maps at 224


def test_the_parc_variant_replaces_nothing_else():
    plain, parc = (timm.create_model(name).state_dict() for name in ("edgevit_xs", "parc_edgevit_xs"))
    mixers = (".global_mix.mixer.qkv.", ".global_mix.mixer.propagate.", ".global_mix.mixer.conv.")
    assert {key: tensor.shape for key, tensor in plain.items() if not any(part in key for part in mixers)} == {
        key: tensor.shape for key, tensor in parc.items() if not any(part in key for part in mixers)
    }
    added = [parc[key].numel() for key in parc.keys() - plain.keys()]
    # Per block: a kernel and an embedding of `length` numbers a channel, and a bias.
    assert sum(added) == 3 * 240 * (2 * 14 + 1) + 384 * (2 * 7 + 1)


@torch.no_grad()
def test_delegates_are_the_first_positions_of_their_windows():
    torch.manual_seed(0)
    attention = SparseAttention(8, num_heads=2, ratio=4).eval()
    x = torch.randn(1, 6, 9, 8)
    other = torch.randn_like(x)
    other[:, ::4, ::4] = x[:, ::4, ::4]
    torch.testing.assert_close(attention(other), attention(x), rtol=0, atol=0)
    other[:, 4, 8] += 1
    assert (attention(other) != attention(x)).any(dim=3).all()


@torch.no_grad()
def test_cut_windows_give_what_whole_ones_give_there():
    torch.manual_seed(0)
    attention = SparseAttention(8, num_heads=2, ratio=4).eval()
    x = torch.randn(1, 8, 12, 8)
    # Cutting what no delegate stands in changes nothing where both maps are; 1e-6: other shapes, another order of sums.
    torch.testing.assert_close(attention(x[:, :6, :9]), attention(x)[:, :6, :9], rtol=0, atol=1e-6)


@torch.no_grad()
def test_missing_pixels_at_the_right_and_the_bottom_count_as_zeros():
    torch.manual_seed(0)
    model = timm.create_model("test_edgevit").eval()
    x = torch.randn(1, 3, 62, 61)
    padded = nn.functional.pad(x, (0, 3, 0, 2))
    torch.testing.assert_close(model(x), model(padded), rtol=0, atol=0)


def test_initial_weights_follow_the_official_rule():
    torch.manual_seed(0)
    model = timm.create_model("edgevit_xs")
    block = model.stages[2][1]
    # Standard deviation of 172,800 draws: 5 standard errors are under 1 %.
    assert block.global_mix.mixer.qkv.weight.std().item() == pytest.approx(0.02, rel=0.01)
    assert block.global_mix.mixer.qkv.bias.abs().max().item() == 0
    # torch's own: uniform up to 1 / sqrt(fan in), which is 25 for the 5x5 and 4 for the 2x2.
    for weight, fan_in in ((block.local_mix.depthwise.weight, 25), (block.global_mix.mixer.propagate.conv.weight, 4)):
        assert weight.abs().max().item() == pytest.approx(fan_in**-0.5, rel=0.01)
        assert weight.abs().max().item() <= fan_in**-0.5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"head_dim": 50}, r"head_dim=50: must divide the widths of the stages with attention, \[48, 96, 240, 384\]"),
        ({"head_dim": 0}, r"head_dim=0: "),
        ({"mixers": ("x",) * 4}, r"mixers=\('x', .*: give one of attention, parc for each of 4 stages"),
        ({"mixers": ("parc",) * 3}, r"mixers=\('parc', .*: give one of attention, parc for each of 4 stages"),
    ],
    ids=str,
)
def test_heads_and_mixers_that_cannot_be_are_refused(options, said):
    with pytest.raises(ValueError, match=said):
        timm.create_model("edgevit_xs", **options)


def test_stages_without_attention_have_no_heads():
    with torch.device("meta"):
        timm.create_model("edgevit_xs", head_dim=50, mixers=("parc",) * 4)


@torch.no_grad()
def test_the_last_stages_features_can_be_had_behind_the_norm():
    model, x = timm.create_model("test_edgevit").eval(), torch.randn(1, 3, 40, 56)
    model.norm.running_mean.fill_(0.5)
    final, intermediates = model.forward_intermediates(x, norm=True)
    torch.testing.assert_close(intermediates[-1], final, rtol=0, atol=0)
    assert not torch.equal(model.forward_intermediates(x, intermediates_only=True)[-1], final)
    model.prune_intermediate_layers([3])
    torch.testing.assert_close(model(x), final, rtol=0, atol=0)
