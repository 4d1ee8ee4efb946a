"""The modules around convolutions along an axis: kernels and embeddings that follow the size of the map."""

import numpy as np
import pytest
import torch

from axis_reference import axis_conv_reference
from parckit.layers import CircularConv2d, OversizedConv2d, PositionEmbedding, resize_along

DIM = {"height": 2, "width": 3}

# Rounding alone: up to 23 products of size 1, each off by one part in 2^53 of itself, give less than this.
FLOAT64 = {"rtol": 0, "atol": 1e-12}

axes = pytest.mark.parametrize("axis", ["height", "width"])


@pytest.mark.parametrize("length", [1, 2, 3, 5, 8, 13])
@pytest.mark.parametrize("native", [1, 2, 5, 8])
@axes
def test_resizing_is_linear_interpolation_that_keeps_the_ends(axis, native, length):
    values = np.random.default_rng(0).standard_normal((2, 3, native))
    dim, other = DIM[axis], 5 - DIM[axis]
    resized = resize_along(torch.from_numpy(values).unsqueeze(other), length, axis=axis)
    positions = np.linspace(0, native - 1, length)
    expected = np.apply_along_axis(lambda row: np.interp(positions, range(native), row), -1, values)
    assert resized.shape[dim] == length
    assert resized.shape[other] == 1
    torch.testing.assert_close(resized.squeeze(other), torch.from_numpy(expected), **FLOAT64)


@axes
def test_resizing_to_the_native_length_gives_the_same_object(axis):
    weight = torch.randn(3, 1, 5, 1) if axis == "height" else torch.randn(3, 1, 1, 5)
    assert resize_along(weight, 5, axis=axis) is weight


@pytest.mark.parametrize("size", [(6, 6), (1, 1), (1, 9), (5, 11), (12, 3)], ids=str)
@axes
def test_modules_follow_the_size_of_the_map(axis, size):
    torch.manual_seed(0)
    conv = CircularConv2d(3, 6, axis=axis, bias=True).double()
    embedding = PositionEmbedding(3, 6, axis=axis).double()
    torch.nn.init.normal_(conv.bias)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    length = size[0] if axis == "height" else size[1]
    kernel = resize_along(conv.weight, length, axis=axis)
    torch.testing.assert_close(
        conv(x), axis_conv_reference(x, kernel, axis=axis, padding="circular") + conv.bias.view(-1, 1, 1), **FLOAT64
    )
    torch.testing.assert_close(embedding(x), x + resize_along(embedding.weight, length, axis=axis), **FLOAT64)


@pytest.mark.parametrize("size", [(6, 6), (1, 1), (1, 9), (5, 11), (12, 3)], ids=str)
@pytest.mark.parametrize("interpolate", [False, True])
@axes
def test_oversized_kernels_follow_the_size_of_the_map_when_told_to(axis, interpolate, size):
    torch.manual_seed(0)
    conv = OversizedConv2d(3, 11, axis=axis, interpolate=interpolate).double()
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    length = size[0] if axis == "height" else size[1]
    kernel = resize_along(conv.weight, 2 * length - 1, axis=axis) if interpolate else conv.weight
    torch.testing.assert_close(conv(x), axis_conv_reference(x, kernel, axis=axis, padding="zeros"), **FLOAT64)


def test_oversized_kernels_of_even_length_are_refused():
    with pytest.raises(ValueError, match="length=10: must be odd"):
        OversizedConv2d(3, 10, axis="height")


@pytest.mark.parametrize("make", [CircularConv2d, PositionEmbedding])
@pytest.mark.parametrize("size", [(7, 9), (9, 7)], ids=str)
@axes
def test_gradients_reach_every_tap_of_interpolated_kernels(axis, size, make):
    torch.manual_seed(0)
    module = make(2, 5, axis=axis)
    module(torch.randn(2, 2, *size)).square().sum().backward()
    assert (module.weight.grad != 0).all()


@pytest.mark.parametrize("groups", [None, 1, 2])
def test_kernels_start_uniform_within_the_fan_in(groups):
    torch.manual_seed(0)
    conv = CircularConv2d(32, 16, axis="width", groups=groups, bias=True)
    inputs_per_output = 16 * 32 // (groups or 32)
    bound = inputs_per_output**-0.5
    assert conv.weight.shape == (32, inputs_per_output // 16, 1, 16)
    # The largest of 512 and more uniform draws misses 0.95 of the bound with a chance below 1e-11.
    assert 0.95 * bound < conv.weight.abs().max() <= bound
    assert (conv.bias == 0).all()


def test_the_form_may_be_set_at_any_time_and_is_shown():
    conv = CircularConv2d(4, 6, axis="height")
    assert repr(conv) == "CircularConv2d(4, length=6, axis='height', form='auto')"
    conv.form = "conv"
    assert "form='conv'" in repr(conv)


@pytest.mark.parametrize("options", [{"dim": 8, "groups": 3}, {"dim": 8, "length": 0}, {"dim": 0}], ids=str)
def test_kernels_that_cannot_be_are_refused(options):
    with pytest.raises(ValueError, match="must be positive, groups must divide dim"):
        CircularConv2d(**{"length": 5, "axis": "width"} | options)
