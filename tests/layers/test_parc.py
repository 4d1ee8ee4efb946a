"""The ParC block and the frame around it."""

import pytest
import torch
from torch import Tensor, nn

from parckit.layers import (
    ChannelGate,
    FeedForward,
    InvertedResidual,
    ParCBlock,
    ParCBranch,
    ParCStage,
    PositionEmbedding,
)

SIZES = [(6, 6), (1, 1), (1, 7), (5, 3), (9, 12)]
# Rounding alone, of sums of some hundred terms of size 1.
FLOAT64 = {"rtol": 0, "atol": 1e-11}

sizes = pytest.mark.parametrize("size", SIZES, ids=str)


def block(*, with_pe: bool = True, with_gate: bool = True, drop_path_rate: float = 0.0) -> ParCBlock:
    torch.manual_seed(0)
    made = ParCBlock(8, 6, hidden_dim=12, with_pe=with_pe, with_gate=with_gate, drop_path_rate=drop_path_rate)
    return made.double().eval()


def stage(fusion: str = "concat", depth: int = 2) -> ParCStage:
    torch.manual_seed(0)
    made = ParCStage(
        6, inner_dim=8, hidden_dim=12, length=6, fusion=fusion, drop_rate=0.0, drop_path_rates=[0.0] * depth
    )
    return made.double().eval()


def image(*shape: int) -> Tensor:
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(1))


@sizes
@pytest.mark.parametrize("with_gate", [True, False])
@pytest.mark.parametrize("with_pe", [True, False])
def test_blocks_keep_the_shape(with_pe, with_gate, size):
    x = image(2, 8, *size)
    out = block(with_pe=with_pe, with_gate=with_gate)(x)
    assert out.shape == x.shape
    assert out.isfinite().all()


@sizes
@pytest.mark.parametrize("fusion", ["concat", "add"])
def test_stages_keep_the_shape(fusion, size):
    x = image(2, 6, *size)
    assert stage(fusion)(x).shape == x.shape


def test_an_odd_number_of_channels_is_refused():
    with pytest.raises(ValueError, match=r"dim=7: must be even"):
        ParCBlock(7, 6, hidden_dim=12, with_pe=True)


def test_an_unknown_fusion_is_refused():
    with pytest.raises(ValueError, match=r"fusion='sum': choose from \('add', 'concat'\)"):
        stage("sum")


@pytest.mark.parametrize("make", [block, stage, lambda: stage("add")], ids=["block", "concat", "add"])
def test_every_parameter_gets_a_gradient(make):
    module = make().train()
    module(image(4, 8 if isinstance(module, ParCBlock) else 6, 5, 7)).square().sum().backward()
    assert [name for name, parameter in module.named_parameters() if not parameter.grad.any()] == []


def test_embeddings_tell_where_a_block_is():
    x = image(2, 8, 6, 6)
    for dim in (2, 3):
        for with_pe in (True, False):
            made = block(with_pe=with_pe)
            moves_along = torch.allclose(made(x.roll(1, dim)), made(x).roll(1, dim), **FLOAT64)
            assert moves_along is not with_pe


def test_only_the_first_block_of_a_stage_has_embeddings():
    having = {name for name, module in stage(depth=3).named_modules() if isinstance(module, PositionEmbedding)}
    expected = {f"blocks.0.{branch}.{pe}" for branch in ("height_first", "width_first") for pe in ("pe1", "pe2")}
    assert having == expected


def test_branches_take_the_axes_in_their_order():
    made = block()
    axes = [(conv.axis, pe.axis) for branch in (made.height_first, made.width_first)
            for conv, pe in ((branch.conv1, branch.pe1), (branch.conv2, branch.pe2))]  # fmt: skip
    assert axes == [("height",) * 2, ("width",) * 2, ("width",) * 2, ("height",) * 2]


def test_every_pixel_reaches_every_pixel_of_its_branch():
    branch = ParCBranch(2, 6, axis="height", with_pe=True).double().eval()
    x = image(1, 2, 6, 6).requires_grad_()
    branch(x)[0, 0, 0, 0].backward()
    assert (x.grad[0, 0] != 0).all()
    assert (x.grad[0, 1] == 0).all()


def test_the_two_halves_of_a_block_meet_in_the_feed_forward_net_alone():
    made = block()
    nn.init.zeros_(made.ffn.conv2.weight)
    nn.init.zeros_(made.ffn.conv2.bias)
    x = image(2, 8, 6, 6)
    expected = torch.cat((made.height_first(x[:, :4]), made.width_first(x[:, 4:])), dim=1)
    torch.testing.assert_close(made(x), expected, rtol=0, atol=0)


def test_the_gate_is_one_number_between_0_and_1_per_channel():
    torch.manual_seed(0)
    gate, x = ChannelGate(32).double().eval(), image(2, 32, 3, 4)
    assert gate.conv1.out_channels == 2
    nn.init.normal_(gate.conv2.weight)
    factor = gate(x) / x
    assert ((factor >= 0) & (factor <= 1)).all()
    torch.testing.assert_close(factor, factor[:, :, :1, :1].expand_as(factor), **FLOAT64)
    assert factor[:, :, 0, 0].std() > 0.005


def test_narrow_gates_keep_a_hidden_channel():
    assert ChannelGate(8).conv1.out_channels == 1


def test_drop_path_drops_the_residual_branches_of_samples_in_training_alone():
    made, x = block(drop_path_rate=1.0), image(2, 8, 6, 6)
    assert not torch.allclose(made(x), x)
    torch.testing.assert_close(made.train()(x), x, rtol=0, atol=0)


def test_dropout_stands_at_the_end_of_the_feed_forward_net():
    torch.manual_seed(0)
    ffn, x = FeedForward(8, 12, drop_rate=0.5).double(), image(64, 8, 6, 6)
    assert (ffn.train()(x) == 0).double().mean() == pytest.approx(0.5, abs=0.02)  # 18,432 draws: 5 standard errors
    assert (ffn.eval()(x) != 0).all()


def test_stages_fuse_the_global_map_before_the_input_or_by_their_sum():
    assert stage("concat").fusion_conv.conv.in_channels == 12
    assert stage("add").fusion_conv.conv.in_channels == 6
    made, x = stage("concat"), image(2, 6, 5, 7)
    with torch.no_grad():
        made.fusion_conv.conv.weight[:, :6] = 0  # what takes the global map
    torch.testing.assert_close(made(x), stage_without_blocks(made, x), **FLOAT64)


def stage_without_blocks(made: ParCStage, x: Tensor) -> Tensor:
    return made.fusion_conv(torch.cat((torch.zeros_like(x), x), dim=1))


@pytest.mark.parametrize(
    ("out_chs", "stride", "dilation", "skips"), [(6, 1, 1, True), (6, 2, 1, False), (8, 1, 1, False), (6, 1, 2, True)]
)
def test_inverted_residuals_skip_where_shapes_allow(out_chs, stride, dilation, skips):
    torch.manual_seed(0)
    made, x = InvertedResidual(6, out_chs, stride=stride, dilation=dilation).double().eval(), image(2, 6, 7, 9)
    assert made(x).shape == (2, out_chs, -(-7 // stride), -(-9 // stride))
    nn.init.zeros_(made.project.conv.weight)
    nn.init.zeros_(made.project.bn.bias)
    torch.testing.assert_close(made(x), x if skips else torch.zeros_like(made(x)), rtol=0, atol=0)
