"""ParC in place of another network's convolution; its numbers are checked in test_golden_modules.py."""

import pytest
import torch
from torch import nn

from parckit.layers import CircularConv2d, ParCConv2d, PositionEmbedding

SIZES = [(5, 7), (1, 1), (1, 4), (9, 3)]


def operator(*, groups: int | tuple[int, int] | None = None, with_pe: bool = True) -> ParCConv2d:
    torch.manual_seed(0)
    return ParCConv2d(8, (5, 7), groups=groups, with_pe=with_pe)


def maps(*size: int) -> torch.Tensor:
    return torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("size", SIZES, ids=str)
@pytest.mark.parametrize("groups", [None, 1, 2, (3, 1)])
@pytest.mark.parametrize("with_pe", [True, False])
def test_any_map_keeps_its_shape_and_every_parameter_gets_a_gradient(with_pe, groups, size):
    conv, x = operator(groups=groups, with_pe=with_pe), maps(*size)
    out = conv(x)
    assert out.shape == x.shape
    out.square().sum().backward()
    assert [name for name, parameter in conv.named_parameters() if not parameter.grad.any()] == []


def test_each_half_is_mixed_along_its_own_axis():
    conv, x = operator(), maps(5, 7)
    moved = x.clone()
    moved[:, :, 2, 3] += 1
    # Rounding of numbers around 1 is 1e-7; the smallest tap of these kernels is far above 1e-5.
    touched = ((conv(moved) - conv(x)).abs() > 1e-5).any(0)
    column, row = torch.zeros(5, 7, dtype=torch.bool), torch.zeros(5, 7, dtype=torch.bool)
    column[:, 3] = True
    row[2] = True
    assert torch.equal(touched[:4], column.expand(4, -1, -1))
    assert torch.equal(touched[4:], row.expand(4, -1, -1))


@pytest.mark.parametrize(("groups", "per_group"), [(None, 1), (1, 4), (2, 2)])
def test_groups_count_within_a_half(groups, per_group):
    conv = operator(groups=groups)
    assert conv.height.weight.shape == (4, per_group, 5, 1)
    assert conv.width.weight.shape == (4, per_group, 1, 7)


def test_halves_share_the_channels_as_they_share_the_groups():
    conv, x = operator(groups=(3, 1)), maps(5, 7)
    assert conv.halves == (6, 2)
    assert conv.height.weight.shape == (6, 2, 5, 1)
    assert conv.width.weight.shape == (2, 2, 1, 7)
    # Only the last two channels tell the columns apart by position, only the others the rows.
    flat = torch.ones_like(x)
    out = conv(flat)
    assert (out.std(dim=3) > 1e-6).any(2).any(0).tolist() == [False] * 6 + [True] * 2
    assert (out.std(dim=2) > 1e-6).any(2).any(0).tolist() == [True] * 6 + [False] * 2


def test_without_embeddings_there_are_none():
    parts = [type(part) for part in operator(with_pe=False).children()]
    assert parts == [nn.Identity, CircularConv2d, nn.Identity, CircularConv2d]
    assert sum(isinstance(part, PositionEmbedding) for part in operator().children()) == 2


def test_embeddings_start_small():
    torch.manual_seed(0)
    conv = ParCConv2d(1000, (14, 7))
    # 7,000 and 3,500 draws: 5 standard errors are 4.2 % and 6 %; a normal cut at 100 deviations is uncut.
    assert conv.pe_height.weight.std().item() == pytest.approx(0.02, rel=0.042)
    assert conv.pe_width.weight.std().item() == pytest.approx(0.02, rel=0.06)


@pytest.mark.parametrize(
    ("dim", "groups", "said"), [(7, None, r"3 \+ 3"), (1, None, r"0 \+ 0"), (8, 3, r"3 \+ 3"), (8, (4, 1), r"4 \+ 1")]
)
def test_channels_that_cannot_be_shared_are_refused(dim, groups, said):
    with pytest.raises(ValueError, match=rf"dim={dim}: must be a multiple of the groups of both halves, {said}"):
        ParCConv2d(dim, (5, 5), groups=groups)
