"""`fuse`: the same numbers from constants."""

import copy

import pytest
import torch
from timm.layers import convert_sync_batchnorm, freeze_batch_norm_2d
from torch import Tensor, nn

from backbones import KINDS, SMALLEST, as_if_trained, hollow, is_ours, make
from golden_fixtures import GOLDEN, official_input, official_model, read_case
from parckit.layers import (
    AxisConv2d,
    ConstantAxisConv2d,
    OversizedConv2d,
    ParCBlock,
    ParCBranch,
    ParCConv2d,
    ParCStage,
    PositionEmbedding,
)
from parckit.models import fuse

# Folding changes the order of some hundred float64 roundings, 1e-16 each, in some hundred layers.
EXACT = 1e-10

SIZES = [(33, 65), (7, 50)]


def trained(name: str, **kwargs: object) -> nn.Module:
    return make(name, **kwargs).double()


def images(size: tuple[int, int], *, chans: int = 3) -> Tensor:
    return torch.randn(2, chans, *size, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


def assert_exact(actual: Tensor, expected: Tensor) -> None:
    assert actual.shape == expected.shape
    assert (actual - expected).abs().max() <= EXACT * expected.abs().max()


@pytest.mark.parametrize(
    ("name", "size"),
    [(name, size) for name in KINDS for size in (SIZES if is_ours(name) else SIZES[:1])],
    ids=str,
)
@torch.no_grad()
def test_fused_models_give_the_same_numbers(name, size):
    model, x = trained(name), images(size)
    assert_exact(fuse(model, size=size)(x), model(x))


@pytest.mark.parametrize(
    "kwargs",
    [
        {"output_stride": 8},
        {"in_chans": 1},
        {"num_classes": 0, "global_pool": ""},
        {"fusion": "add"},
    ],
    ids=str,
)
@torch.no_grad()
def test_keywords_make_no_difference(kwargs):
    model, x = trained("test_parcnet", **kwargs), images((48, 72), chans=kwargs.get("in_chans", 3))
    assert_exact(fuse(model, size=(48, 72))(x), model(x))


@torch.no_grad()
def test_features_can_be_fused():
    model, x = trained("test_parcnet", features_only=True), images((48, 72))
    for actual, expected in zip(fuse(model, size=(48, 72))(x), model(x), strict=True):
        assert_exact(actual, expected)


@torch.no_grad()
def test_a_fused_official_model_gives_the_official_logits():
    case = read_case(GOLDEN / "parcnet_xs_224.npz")
    x = official_input(case.meta["input_tag"], case.meta["input_shape"])
    case.assert_equal("logits", fuse(official_model("parcnet_xs"), size=(224, 224))(x))


@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("with_pe", [True, False])
@torch.no_grad()
def test_a_block_inside_another_network_is_folded(with_pe, with_gate):
    torch.manual_seed(0)
    block = ParCBlock(8, 5, hidden_dim=12, with_pe=with_pe, with_gate=with_gate)
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 8, 3, stride=2, padding=1), block)).double().eval()
    fused, x = fuse(model, size=(13, 22)), images((13, 22))
    assert_exact(fused(x), model(x))
    assert not any(isinstance(module, ParCBranch | nn.BatchNorm2d) for module in fused.modules())


@pytest.mark.parametrize("groups", [None, 1])
@pytest.mark.parametrize("with_pe", [True, False])
@torch.no_grad()
def test_a_parc_convolution_gives_the_same_numbers(with_pe, groups):
    parc = ParCConv2d(8, (5, 22), groups=groups, with_pe=with_pe)
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GELU(), parc)).double().eval()
    fused, x = fuse(model, size=(7, 22)), images((7, 22))
    assert_exact(fused(x), model(x))
    assert not any(isinstance(module, AxisConv2d | PositionEmbedding) for module in fused.modules())


@pytest.mark.parametrize("length", [3, 13, 14, 15, 31])
@torch.no_grad()
def test_taps_that_reach_nothing_are_dropped(length):
    conv = OversizedConv2d(8, 2 * length - 1, axis="width")
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 8, 1), nn.GELU(), conv)).double().eval()
    fused, x = fuse(model, size=(5, 14)), images((5, 14))
    assert_exact(fused(x), model(x))
    (constant,) = (module for module in fused.modules() if isinstance(module, ConstantAxisConv2d))
    assert constant.weight.shape[3] == 2 * min(length, 14) - 1


@pytest.mark.parametrize("name", SMALLEST)
def test_no_norm_embedding_or_learned_axis_is_left(name):
    fused = fuse(hollow(name), size=(33, 65))
    kinds = (nn.BatchNorm2d, PositionEmbedding, ParCBranch, AxisConv2d)
    left = {path for path, module in fused.named_modules() if isinstance(module, kinds)}
    # EdgeViT's last norm stands between the skip of a block and the classifier: no convolution is beside it.
    assert left <= {"model.norm"}
    assert any(isinstance(module, ConstantAxisConv2d) for module in fused.modules())


@torch.no_grad()
def test_a_block_that_a_hook_watches_stays():
    block = ParCBlock(8, 5, hidden_dim=12, with_pe=True)
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 8, 1), block)).double().eval()
    block.height_first.register_forward_hook(lambda module, args, out: 2 * out)
    fused, x = fuse(model, size=(7, 9)), images((7, 9))
    assert_exact(fused(x), model(x))
    assert sum(isinstance(module, ParCBranch) for module in fused.modules()) == 2


def test_one_operator_on_maps_of_two_sizes_is_refused():
    parc = ParCConv2d(8, (5, 5))
    model = nn.Sequential(nn.Conv2d(3, 8, 1), parc, nn.MaxPool2d(2), parc)
    with pytest.raises(ValueError, match="one ParCConv2d at two sizes"):
        fuse(model, size=(12, 14))


def test_the_original_is_unchanged():
    model, x = trained("test_parcnet").train(), images((48, 72))
    before, modules = copy.deepcopy(model.state_dict()), [*model.modules()]
    fused = fuse(model, size=(48, 72))
    assert model.training
    assert [*model.modules()] == modules
    assert model.state_dict().keys() == before.keys()
    for key, tensor in model.state_dict().items():
        torch.testing.assert_close(tensor, before[key], rtol=0, atol=0)
    assert not any(module._forward_pre_hooks for module in [*modules, *fused.modules()])
    with torch.no_grad():
        expected = fused(x)
        nn.init.zeros_(model.stem.conv.weight)
        torch.testing.assert_close(fused(x), expected, rtol=0, atol=0)


def test_another_size_is_refused():
    fused = fuse(trained("test_parcnet"), size=(48, 72))
    with pytest.raises(ValueError, match=r"x of size \(72, 48\): this model was fused for \(48, 72\)"):
        fused(images((72, 48)))


@pytest.mark.parametrize("size", [(0, 32), (32, -1)], ids=str)
def test_a_size_that_is_none_is_refused(size):
    with pytest.raises(ValueError, match=r"two whole numbers of pixels"):
        fuse(trained("test_parcnet"), size=size)


def test_training_is_refused():
    fused = fuse(trained("test_parcnet"), size=(48, 72))
    with pytest.raises(ValueError, match="cannot be trained"):
        fused.train()
    assert not any(module.training for module in fused.eval().modules())


@torch.no_grad()
def test_fused_models_can_be_copied():
    fused, x = fuse(trained("test_parcnet"), size=(48, 72)), images((48, 72))
    torch.testing.assert_close(copy.deepcopy(fused)(x), fused(x), rtol=0, atol=0)


@torch.no_grad()
def test_a_whole_stage_becomes_convolutions_alone():
    torch.manual_seed(0)
    stage = ParCStage(
        6, inner_dim=8, hidden_dim=12, length=5, fusion="concat", drop_rate=0.1, drop_path_rates=(0.0, 0.1)
    )
    model = as_if_trained(nn.Sequential(nn.Conv2d(3, 6, 1), stage)).double().eval()
    fused, x = fuse(model, size=(9, 6)), images((9, 6))
    assert_exact(fused(x), model(x))
    learned = {type(module) for module in fused.modules() if [*module.parameters(recurse=False)]}
    assert learned == {nn.Conv2d, ConstantAxisConv2d, nn.ParameterList}


@torch.no_grad()
def test_a_stage_with_two_names_is_folded_once():
    class Named(nn.Module):
        def __init__(self, name: str) -> None:
            super().__init__()
            self.backbone = trained(name)
            self.stages = self.backbone.stages
            self.again = self.stages

        def forward(self, x: Tensor) -> Tensor:
            return self.backbone(x)

    x = images((32, 48))
    for name in ("test_parcnet", "test_parcnetv2"):
        model = Named(name).eval()
        fused = fuse(model, size=(32, 48))
        assert_exact(fused(x), model(x))
        assert not any(isinstance(module, AxisConv2d) for module in fused.modules())


@pytest.mark.parametrize("convert", [convert_sync_batchnorm, freeze_batch_norm_2d])
@torch.no_grad()
def test_norms_that_cannot_be_folded_stay(convert):
    model, x = convert(trained("test_parcnet")).double().eval(), images((48, 72))
    assert_exact(fuse(model, size=(48, 72))(x), model(x))
