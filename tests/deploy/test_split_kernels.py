"""A long kernel and the sum of its parts give the same numbers."""

import pytest
import torch
from torch import nn

from parckit.deploy.convert.split_kernels import SplitConv2d, split_kernels
from parckit.deploy.targets import ConvLimits

CONVOLUTIONS = {
    "circular or oversized, along the height": nn.Conv2d(4, 4, (27, 1), padding=(13, 0), groups=4),
    "along the width, without bias": nn.Conv2d(4, 4, (1, 13), padding=(0, 6), groups=4, bias=False),
    "both axes, not depthwise": nn.Conv2d(4, 6, (9, 11), padding=(4, 2), groups=2),
    "stride and dilation": nn.Conv2d(4, 4, (8, 9), stride=(2, 3), dilation=(1, 2), padding=(3, 8)),
    "no padding": nn.Conv2d(4, 4, (6, 6)),
}


@torch.no_grad()
@pytest.mark.parametrize("conv", CONVOLUTIONS.values(), ids=CONVOLUTIONS)
@pytest.mark.parametrize("longest", [1, 3, 5])
def test_the_sum_of_the_parts_is_the_convolution(conv, longest):
    torch.manual_seed(0)
    conv, x = conv.double(), torch.randn(2, 4, 14, 19, dtype=torch.float64)
    split = SplitConv2d(conv, longest=(longest, longest))
    assert max(max(part.kernel_size) for part in split.parts) <= longest
    expected = conv(x)
    # The same products in float64, added in another order: at most 600 of them.
    assert (split(x) - expected).abs().max() <= 1e-13 * expected.abs().max()


@torch.no_grad()
def test_a_large_dilation_is_split_into_single_taps():
    torch.manual_seed(0)
    conv = nn.Conv2d(4, 6, (3, 3), dilation=(18, 2), padding=(18, 2)).double()
    model, x = nn.Sequential(conv), torch.randn(2, 4, 32, 19, dtype=torch.float64)
    expected = conv(x)
    split_kernels(model, longest=None, limits=ConvLimits(dilation=16))
    assert {(part.kernel_size, part.dilation) for part in model[0].parts} == {((1, 3), (1, 2))}
    # The same products in float64, added in another order: 36 of them.
    assert (model(x) - expected).abs().max() <= 1e-13 * expected.abs().max()
    split_kernels(model := nn.Sequential(conv), longest=None, limits=ConvLimits(dilation=18, padding=18))
    assert model[0] is conv
    split_kernels(model, longest=None, limits=ConvLimits(padding=15))
    assert [part.padding for part in model[0].parts] == [(0, 0)]
    assert torch.equal(model(x), expected)


def test_only_long_kernels_of_plain_convolutions_are_split():
    class Special(nn.Conv2d):
        """It may compute something else than a convolution."""

    model = nn.Sequential(
        nn.Conv2d(3, 4, 7),
        nn.Conv2d(4, 4, 8),
        nn.Conv2d(4, 4, 9, padding=4, padding_mode="circular"),
        nn.Conv2d(4, 4, 9, padding="same"),
        Special(4, 4, 9),
    )
    split_kernels(model, longest=None)
    assert not any(isinstance(module, SplitConv2d) for module in model)
    split_kernels(model, longest=7)
    assert [isinstance(module, SplitConv2d) for module in model] == [False, True, False, False, False]
