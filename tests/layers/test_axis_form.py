"""The choice between the forms of a convolution along an axis."""

import pytest
import torch

from parckit.layers.axis_form import choose_form

DIMS = pytest.mark.parametrize("dim", [2, 3], ids=["height", "width"])
PADDINGS = pytest.mark.parametrize("padding", ["circular", "zeros"])


@pytest.mark.parametrize(
    ("batch", "needs_grad", "padding", "dim", "smallest"),
    [
        (1, False, "circular", 2, 8),
        (1, True, "circular", 2, 14),
        (1, True, "circular", 3, 8),
        (1, True, "zeros", 2, 8),
        (2, False, "circular", 2, 14),
        (32, True, "circular", 2, 14),
        (2, False, "circular", 3, 14),
        (2, True, "circular", 3, 8),
        (2, False, "zeros", 2, 16),
        (2, True, "zeros", 2, 8),
        (2, False, "zeros", 3, 8),
        (2, True, "zeros", 3, 8),
    ],
)
def test_matrices_are_for_longer_axes(batch, needs_grad, padding, dim, smallest):
    for length in (1, smallest - 1, smallest, 64):
        shape = [batch, 4, 20, 20]
        shape[dim] = length
        x = torch.zeros(shape, requires_grad=needs_grad)
        assert choose_form(x, dim=dim, padding=padding) == ("matmul" if length >= smallest else "conv")


def test_without_gradients_a_map_that_could_have_them_is_like_any_other():
    x = torch.zeros(2, 4, 14, 14, requires_grad=True)
    assert choose_form(x, dim=2, padding="zeros") == "matmul"
    with torch.no_grad():
        assert choose_form(x, dim=2, padding="zeros") == "conv"


@DIMS
@PADDINGS
def test_halves_of_the_channels_are_chosen_for_like_whole_maps(dim, padding):
    half = torch.zeros(2, 8, 16, 16).chunk(2, dim=1)[1]
    assert not half.is_contiguous()
    assert choose_form(half, dim=dim, padding=padding) == "matmul"


@DIMS
@PADDINGS
def test_channels_last_maps_stay_so(dim, padding):
    x = torch.zeros(2, 4, 16, 16).to(memory_format=torch.channels_last)
    assert choose_form(x, dim=dim, padding=padding) == "conv"
    assert choose_form(x.requires_grad_(), dim=dim, padding=padding) == "conv"


def test_other_devices_run_the_conv_form():
    assert choose_form(torch.zeros(2, 4, 32, 32, device="meta"), dim=2, padding="circular") == "conv"
