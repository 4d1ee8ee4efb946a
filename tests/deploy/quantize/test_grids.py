import numpy as np
import pytest

from parckit.deploy.quantize.grids import activation_grid, bias_grid, weight_grid


@pytest.mark.parametrize(("ends", "zero"), [((-1.0, 3.0), 64), ((0.0, 2.0), 0), ((-2.0, 0.0), 255), ((1.0, 2.0), 0)])
def test_an_activation_grid_has_zero_and_both_ends(ends, zero):
    grid = activation_grid(ends, bits=8)
    assert (grid.zero_point.dtype, int(grid.zero_point)) == (np.uint8, zero)
    numbers = np.array([min(ends[0], 0), 0, max(ends[1], 0)], np.float32)
    assert grid.round(numbers) == pytest.approx(numbers, abs=float(grid.scale) / 2 + 1e-6)
    assert grid.round(np.array([0.0], np.float32)) == 0
    assert grid.round(np.array([99.0], np.float32)) == pytest.approx(max(ends[1], 0), abs=float(grid.scale))


def test_sixteen_bits_are_256_times_finer():
    eight, sixteen = (activation_grid((-1.0, 1.0), bits=bits) for bits in (8, 16))
    assert sixteen.zero_point.dtype == np.uint16
    assert float(eight.scale / sixteen.scale) == pytest.approx(65535 / 255)


def test_every_output_channel_of_weights_uses_all_steps():
    weights = np.random.default_rng(0).standard_normal((4, 3, 5)).astype(np.float32) * [[[1]], [[10]], [[0.1]], [[0]]]
    grid = weight_grid(weights.astype(np.float32), axis=0)
    steps = grid.quantize(weights.astype(np.float32), axis=0)
    assert steps.dtype == np.int8
    assert np.abs(steps).max(axis=(1, 2)).tolist() == [127, 127, 127, 0]
    # An error is half a step at most.
    error = np.abs(grid.round(weights.astype(np.float32), axis=0) - weights).max(axis=(1, 2))
    assert (error <= grid.scale / 2 * 1.001 + 1e-9).all()


def test_weights_whose_bias_would_not_fit_into_int32_get_larger_steps():
    weights, bias = np.array([[1e-6], [1.0]], np.float32), np.array([50.0, 50.0], np.float32)
    activations = activation_grid((0.0, 1e-3), bits=8)
    narrow = weight_grid(weights, axis=0)
    wide = narrow.widened_for(bias, activations)
    assert wide.scale[0] > narrow.scale[0]
    assert wide.scale[1] == narrow.scale[1]
    restored = bias_grid(activations, wide).round(bias, axis=0)
    assert restored == pytest.approx(bias, rel=1e-6)
