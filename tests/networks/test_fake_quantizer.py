"""The fake quantizer: what it rounds to, its gradients, and its first scale."""

import numpy as np
import pytest
import torch

from parckit.networks import FakeQuantizer


def reference(x, scale, zero, lowest, highest):
    """Return the rounded numbers and both derivatives, after equations 1 to 5 of Esser et al., in numpy."""
    q = np.round(x / scale) + zero
    cut = np.clip(q, lowest, highest)
    inside = (q >= lowest) & (q <= highest)
    of_scale = np.where(inside, np.round(x / scale) - x / scale, cut - zero)
    return (cut - zero) * scale, inside.astype(float), of_scale


@pytest.mark.parametrize(("bits", "channels"), [(2, None), (8, None), (2, 3), (7, 3)])
def test_gradients_are_those_of_the_straight_through_estimator(bits, channels):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64, requires_grad=True)
    grad = torch.randn(3, 4, 5, 6, generator=generator, dtype=torch.float64)
    quantizer = FakeQuantizer(bits, channels=channels).double()
    if channels is None:
        quantizer.begin_measuring()
        quantizer(0.5 * x)  # so that some numbers lie outside of the range
        quantizer.end_measuring()
        assert 0 < quantizer.zero_point < quantizer.highest
    else:
        quantizer.measure_weights(0.5 * x)
    rounded = quantizer(x)
    rounded.backward(grad)
    scale = quantizer.scale.detach().numpy().reshape(-1, *[1] * 3)
    expected, of_x, of_scale = reference(
        x.detach().numpy(), scale, quantizer.zero_point.numpy(), quantizer.lowest, quantizer.highest
    )
    assert 0 < of_x.mean() < 1
    # A few roundings of float64.
    close = {"rtol": 1e-12, "atol": 1e-12}
    np.testing.assert_allclose(rounded.detach().numpy(), expected, **close)
    np.testing.assert_allclose(x.grad.numpy(), grad.numpy() * of_x, **close)
    # d / d log scale = scale * d / d scale.
    of_log = (grad.numpy() * of_scale * scale).sum(axis=(1, 2, 3) if channels else None)
    np.testing.assert_allclose(quantizer.log_scale.grad.numpy(), of_log, rtol=1e-10, atol=1e-12)


def test_activations_keep_zero_and_the_mean_of_the_ends_that_were_measured():
    quantizer = FakeQuantizer(8)
    quantizer.begin_measuring()
    for x in (torch.tensor([-1.0, 2.0]), torch.tensor([-3.0, 6.0])):
        assert quantizer(x) is x
    quantizer.end_measuring()
    ends = quantizer(torch.tensor([-9.0, 0.0, 9.0])).tolist()
    assert ends[1] == 0
    # The zero point moves the ends by half a step of 6 / 255 at most.
    assert ends == pytest.approx([-2, 0, 4], abs=0.012)


def test_weights_are_cut_off_only_if_that_lowers_the_squared_error():
    weight = torch.randn(4, 64, generator=torch.Generator().manual_seed(0))
    weight[0] = torch.linspace(-1, 1, 64)
    for bits in (3, 6):
        quantizer = FakeQuantizer(bits, channels=4)
        quantizer.measure_weights(weight)
        largest = weight.abs().amax(1) / quantizer.highest
        plain = (weight / largest[:, None]).round() * largest[:, None]
        errors, of_plain = (((other - weight) ** 2).sum(1) for other in (quantizer(weight), plain))
        assert (errors <= of_plain * (1 + 1e-5)).all()
        assert (quantizer.scale < 0.99 * largest)[1:].any() == (bits == 3)


def test_zeros_have_a_scale():
    quantizer = FakeQuantizer(7, channels=2)
    quantizer.measure_weights(torch.zeros(2, 3))
    assert torch.equal(quantizer(torch.zeros(2, 3)), torch.zeros(2, 3))


def test_weights_of_8_bits_have_scales_with_which_no_pair_of_channels_saturates():
    weight = torch.rand(4, 6, 3, 3, generator=torch.Generator().manual_seed(0)) + 0.1
    weight[3, ::2] *= -1
    quantizer = FakeQuantizer(8, channels=4)
    quantizer.measure_weights(weight)
    rounded = quantizer(weight)
    levels = (rounded / quantizer.scale_of(weight).view(-1, 1, 1, 1)).round()
    # 255 * 128 is below 2 ** 15.
    assert 120 < (levels[:, ::2] + levels[:, 1::2]).abs().max() <= 128
    rounded.square().sum().backward()
    assert (quantizer.log_scale.grad != 0).tolist() == [False, False, False, True], "a limit is not learned"
