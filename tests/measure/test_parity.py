import numpy as np
import pytest
import torch
from torch import nn

from bundles import tiny_spec
from parckit.contract import InputError
from parckit.measure.parity import ATOL, compare, compare_detections, probe_pictures, real_pictures
from parckit.measure.tolerance import TOLERANCES
from parckit.processing import preprocess
from parckit.runtimes.torch import TorchSession

NAMES = ["means"]
IMAGES = np.random.default_rng(0).standard_normal((4, 3, 2, 2), np.float32)


def means() -> tuple[np.ndarray, ...]:
    return (IMAGES.mean((2, 3)),)


def test_the_same_outputs_agree():
    comparison = compare(means(), means(), names=NAMES)
    (difference,) = comparison.differences
    assert (difference.output, difference.max_abs, comparison.passed) == ("means", 0, True)
    assert difference.tolerance == pytest.approx(ATOL + TOLERANCES["fp32"].numbers * np.abs(means()[0]).max())


@pytest.mark.parametrize(("share", "passed"), [(0.5, True), (2.0, False)])
def test_the_tolerance_decides(share, passed):
    tolerance = compare(means(), means(), names=NAMES).worst.tolerance
    moved = (means()[0] + np.float32(share * tolerance),)
    comparison = compare(means(), moved, names=NAMES)
    # Adding a small number to float32 values of order 1 rounds it to multiples of 6e-8, a thousandth of the tolerance.
    assert comparison.worst.max_abs == pytest.approx(share * tolerance, rel=1e-2)
    assert comparison.passed is passed


def test_every_output_must_agree_and_the_worst_is_named():
    """Each output has its own tolerance: the numbers of a large output do not excuse a small one."""
    large, small = 1000 * means()[0], IMAGES.max((2, 3))
    names = ["large", "small"]
    assert compare((large, small), (large, small), names=names).passed
    comparison = compare((large, small), (large, small + np.float32(1e-2)), names=names)
    assert [difference.passed for difference in comparison.differences] == [True, False]
    assert (comparison.worst.output, comparison.passed) == ("small", False)
    assert comparison.worst.max_abs < comparison.differences[0].tolerance


def test_the_figures_do_not_depend_on_the_size_of_the_numbers():
    exact = np.array([[1.0, 0.0], [0.0, -2.0]])
    for scale in (1e-3, 1e3):
        (difference,) = compare((scale * exact,), (scale * (exact + 0.1),), names=["logits"]).differences
        assert difference.figures["mean_abs"] == pytest.approx(0.1 * scale)
        assert difference.figures["relative"] == pytest.approx(0.1 / 2)
        # (1, 0) and (1.1, 0.1); the other row is nearer.
        assert difference.figures["cosine"] == pytest.approx(1.1 / np.hypot(1.1, 0.1))
        assert difference.figures["spread"] == pytest.approx(2 / 2)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("reference_is_bad", [True, False])
def test_values_that_are_not_finite_never_pass(value, reference_is_bad):
    bad = (np.full((4, 3), value, np.float32),)
    pair = (bad, means()) if reference_is_bad else (means(), bad)
    comparison = compare(*pair, names=NAMES)
    assert not comparison.passed
    assert comparison.worst.max_abs == np.inf
    assert "not finite" in comparison.worst.fault


def test_rows_that_differ_by_rounding_of_zero_have_a_cosine_of_one():
    rows = np.array([[1.0, 0.0], [1e-8, 0.0], [0.0, 0.0]])
    others = np.array([[1.0, 0.0], [0.0, -1e-8], [0.0, 0.0]])
    assert compare((rows,), (others,), names=NAMES).cosine == 1


def test_an_output_of_another_shape_differs():
    comparison = compare(means(), (means()[0][:, :2],), names=NAMES)
    assert not comparison.passed
    assert comparison.worst.fault == "means has the shape (4, 2) instead of (4, 3)"


def test_other_numbers_of_outputs_and_empty_outputs_are_refused():
    with pytest.raises(InputError, match="2 outputs: the network has 1"):
        compare(means(), means() * 2, names=NAMES)
    with pytest.raises(InputError, match="at least one"):
        compare((means()[0][:0],), (means()[0][:0],), names=NAMES)


def test_probe_pictures_are_seeded():
    pictures = [np.asarray(picture) for picture in probe_pictures((16, 24), count=2)]
    assert [picture.shape for picture in pictures] == [(16, 24, 3)] * 4
    again, others = (probe_pictures((16, 24), count=2, seed=seed) for seed in (0, 1))
    np.testing.assert_array_equal(np.stack(pictures), np.stack([np.asarray(picture) for picture in again]))
    assert not np.array_equal(np.stack(pictures), np.stack([np.asarray(picture) for picture in others]))


def test_smooth_probe_pictures_vary_less_from_pixel_to_pixel_than_noise():
    pixels = np.stack([np.asarray(picture) for picture in probe_pictures((32, 32), count=4)]).astype(float)
    noise, smooth = np.split(pixels, 2)
    assert np.abs(np.diff(smooth, axis=2)).mean() < 0.3 * np.abs(np.diff(noise, axis=2)).mean()


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
    pictures = probe_pictures(spec.preprocessing.size)
    images = np.stack([preprocess(picture, spec.preprocessing)[0] for picture in pictures])
    assert not compare(good(images), bad(images), names=["logits"]).passed


def detections(count: int = 100) -> tuple[np.ndarray, ...]:
    corners = np.random.default_rng(0).uniform(0, 200, (count, 2)).astype(np.float32)
    labels, masks = np.arange(count) % 3, np.full((count, 28, 28), 0.7, np.float32)
    return (
        np.concatenate([corners, corners + 30], axis=1),
        np.linspace(0.9, 0.1, count, dtype=np.float32),
        labels,
        masks,
    )


def test_detections_are_compared_as_sets():
    assert compare_detections(detections(), detections()).max_abs == 0
    moved = tuple(output.copy() for output in detections())
    moved[1][:] += 0.02
    assert compare_detections(detections(), moved).max_abs == 1
    assert compare_detections(detections(), moved, tolerance=TOLERANCES["fp16"]).max_abs == 0
    order = np.random.default_rng(1).permutation(100)
    moved = tuple(output[order] for output in detections())
    moved[0][:] += 0.01
    moved[1][:] += 1e-5
    assert compare_detections(detections(), moved).passed
    one_less = tuple(output[:-1] for output in detections())
    difference = compare_detections(detections(), one_less)
    assert difference.max_abs == pytest.approx(1 / 199)
    assert difference.passed
    none = tuple(output[:0] for output in detections())
    assert compare_detections(detections(), none).max_abs == 1
    assert compare_detections(none, none).max_abs == 0


@pytest.mark.parametrize(("index", "change"), [(0, 5), (1, 0.01), (2, 1), (3, 0.1)])
def test_other_boxes_scores_classes_or_masks_are_differences(index, change):
    other = detections()
    other[index][:50] += other[index].dtype.type(change)
    difference = compare_detections(detections(), other)
    assert not difference.passed
    assert difference.max_abs >= 0.4


def test_real_pictures_are_colour_photographs():
    pictures = real_pictures()
    assert len(pictures) == 2
    assert all((picture.mode, *picture.size) == ("RGB", 640, 427) for picture in pictures)
