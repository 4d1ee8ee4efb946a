from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from bundles import tiny_spec
from parckit.contract import InputError, Preprocessing
from parckit.measure.parity import ATOL, RTOL, compare, probe_images
from parckit.runtimes.torch import TorchSession

NAMES = ["means"]
IMAGES = np.random.default_rng(0).standard_normal((4, 3, 2, 2), np.float32)


def means(images: np.ndarray) -> tuple[np.ndarray, ...]:
    return (images.mean((2, 3)),)


def test_the_same_function_agrees_with_itself():
    comparison = compare(means, means, IMAGES, names=NAMES)
    (difference,) = comparison.differences
    assert (difference.output, difference.max_abs, comparison.images, comparison.passed) == ("means", 0, 4, True)
    assert difference.tolerance == pytest.approx(ATOL + RTOL * np.abs(means(IMAGES)[0]).max())


@pytest.mark.parametrize(("share", "passed"), [(0.5, True), (2.0, False)])
def test_the_tolerance_decides(share, passed):
    tolerance = compare(means, means, IMAGES, names=NAMES).worst.tolerance

    def moved(images: np.ndarray) -> tuple[np.ndarray, ...]:
        return (means(images)[0] + np.float32(share * tolerance),)

    comparison = compare(means, moved, IMAGES, names=NAMES)
    # Adding a small number to float32 values of order 1 rounds it to multiples of 6e-8, a thousandth of the tolerance.
    assert comparison.worst.max_abs == pytest.approx(share * tolerance, rel=1e-2)
    assert comparison.passed is passed


def test_every_output_must_agree_and_the_worst_is_named():
    """Each output has a tolerance of its own: a small one is not measured by a large one's numbers."""

    def two(images: np.ndarray) -> tuple[np.ndarray, ...]:
        return 1000 * means(images)[0], images.max((2, 3))

    def two_moved(images: np.ndarray) -> tuple[np.ndarray, ...]:
        large, small = two(images)
        return large, small + np.float32(1e-2)

    names = ["large", "small"]
    assert compare(two, two, IMAGES, names=names).passed
    comparison = compare(two, two_moved, IMAGES, names=names)
    assert [difference.passed for difference in comparison.differences] == [True, False]
    assert (comparison.worst.output, comparison.passed) == ("small", False)
    assert comparison.worst.max_abs < comparison.differences[0].tolerance


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("reference_is_bad", [True, False])
def test_values_that_are_not_finite_never_pass(value, reference_is_bad):
    def bad(images: np.ndarray) -> tuple[np.ndarray, ...]:
        return (np.full((len(images), 3), value, np.float32),)

    pair = (bad, means) if reference_is_bad else (means, bad)
    comparison = compare(*pair, IMAGES, names=NAMES)
    assert not comparison.passed
    assert comparison.worst.max_abs == np.inf


def test_outputs_of_other_shapes_and_empty_inputs_are_refused():
    with pytest.raises(ValueError, match=r"means: the reference has shape \(4, 3\), the candidate \(4, 2\)"):
        compare(means, lambda images: (means(images)[0][:, :2],), IMAGES, names=NAMES)
    with pytest.raises(ValueError, match="zip"):
        compare(means, lambda images: means(images) * 2, IMAGES, names=NAMES)
    with pytest.raises(InputError, match="at least one"):
        compare(means, means, IMAGES[:0], names=NAMES)


def test_probe_images_are_seeded_and_normalised():
    plain = Preprocessing(size=(16, 24))
    normalised = replace(plain, mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4))
    images = probe_images(plain, count=2)
    assert images.shape == (6, 3, 16, 24)
    assert images.dtype == np.float32
    np.testing.assert_array_equal(images, probe_images(plain, count=2))
    assert not np.array_equal(images, probe_images(plain, count=2, seed=1))
    pictures = images[2:]
    assert pictures.min() >= 0
    assert pictures.max() <= 1
    expected = (pictures - np.reshape(normalised.mean, (3, 1, 1))) / np.reshape(normalised.std, (3, 1, 1))
    # Float32 values of order 1, computed in float64 and rounded once or twice.
    np.testing.assert_allclose(probe_images(normalised, count=2)[2:], expected, atol=1e-6)


def test_smooth_probe_images_vary_less_from_pixel_to_pixel_than_noise():
    noise, smooth = np.split(probe_images(Preprocessing(size=(32, 32)), count=4)[4:], 2)
    assert np.abs(np.diff(smooth)).mean() < 0.3 * np.abs(np.diff(noise)).mean()


@pytest.mark.parametrize("fault", ["padding", "epsilon"])
def test_small_faults_of_an_engine_fail(fault):
    torch.manual_seed(0)
    conv, norm = nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8).eval()
    faulty_conv = nn.Conv2d(3, 8, 3, padding=1, padding_mode="replicate" if fault == "padding" else "zeros")
    faulty_conv.load_state_dict(conv.state_dict())
    faulty_norm = nn.BatchNorm2d(8, eps=1e-3 if fault == "epsilon" else 1e-5).eval()
    head = nn.Sequential(nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4))
    spec = tiny_spec((16, 16))
    good = TorchSession(nn.Sequential(conv, norm, head), spec)
    bad = TorchSession(nn.Sequential(faulty_conv, faulty_norm, head), spec)
    assert not compare(good, bad, probe_images(spec.preprocessing), names=["logits"]).passed
