"""The choice between the forms of a convolution along an axis."""

import pytest
import torch

from parckit.layers.axis_form import choose_form

DIMS = pytest.mark.parametrize("dim", [2, 3], ids=["height", "width"])


@pytest.mark.parametrize(("batch", "smallest"), [(1, 8), (2, 10), (32, 10)])
@DIMS
def test_matrices_are_for_longer_axes(dim, batch, smallest):
    for length in (1, smallest - 1, smallest, 64):
        shape = [batch, 4, 20, 20]
        shape[dim] = length
        assert choose_form(torch.zeros(shape), dim=dim) == ("matmul" if length >= smallest else "conv")


@DIMS
def test_halves_of_the_channels_are_chosen_for_like_whole_maps(dim):
    half = torch.zeros(2, 8, 16, 16).chunk(2, dim=1)[1]
    assert not half.is_contiguous()
    assert choose_form(half, dim=dim) == "matmul"


@DIMS
def test_channels_last_maps_stay_so(dim):
    x = torch.zeros(2, 4, 16, 16).to(memory_format=torch.channels_last)
    assert choose_form(x, dim=dim) == choose_form(x.requires_grad_(), dim=dim) == "conv"


def test_other_devices_run_the_conv_form():
    assert choose_form(torch.zeros(2, 4, 32, 32, device="meta"), dim=2) == "conv"
