"""Calibrators against slow references in float64, which look at the numbers themselves and not at a histogram."""

import numpy as np
import pytest

from parckit.deploy.quantize import QuantizeSettings
from parckit.deploy.quantize.calibrators import choose_range, entropy_range, mse_range, percentile_range
from parckit.deploy.quantize.histograms import BINS, Histogram, count_in_bins


def histogram_of(values: np.ndarray) -> Histogram:
    limit = float(np.abs(values).max())
    return Histogram(lowest=float(values.min()), highest=float(values.max()), counts=count_in_bins(values, limit=limit))


@pytest.fixture(scope="module", params=["normal", "silu", "outlier", "positive"])
def values(request) -> np.ndarray:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal(20_000)
    numbers = {
        "normal": normal,
        "silu": 3 * normal / (1 + np.exp(-3 * normal)),
        "outlier": np.concatenate([normal, [40.0, -25.0]]),
        "positive": np.maximum(normal, 0),
    }[request.param]
    return numbers.astype(np.float32)


def test_a_histogram_counts_as_numpy_does(values):
    # Zero lies between two bins.
    values = values[values != 0]
    limit = float(np.abs(values).max())
    counts = count_in_bins(values, limit=limit)
    expected, _ = np.histogram(values.astype(np.float64), bins=BINS, range=(-limit, limit))
    # Numbers at the edge of two bins may fall into either, because float32 rounds.
    assert np.abs(np.cumsum(counts) - np.cumsum(expected)).max() <= 5
    assert counts.sum() == len(values)


def test_minmax_takes_all_and_zero(values):
    lowest, highest = choose_range(histogram_of(values), QuantizeSettings(calibrator="minmax"))
    assert (lowest, highest) == (min(0, float(values.min())), max(0, float(values.max())))
    above = choose_range(histogram_of(values + 100), QuantizeSettings(calibrator="minmax"))
    assert above[0] == 0


@pytest.mark.parametrize("percentile", [99.0, 99.99, 100.0])
def test_percentile_keeps_the_share_of_the_numbers(values, percentile):
    histogram = histogram_of(values)
    lowest, highest = percentile_range(histogram, percentile=percentile)
    cut = (100 - percentile) / 200
    expected = np.quantile(values.astype(np.float64), [cut, 1 - cut])
    # The cut falls into a bin, which stays as a whole; quantiles between two numbers may be anywhere between them.
    width = 2 * histogram.limit / BINS
    inside = np.sort(values)
    gap = float(max(inside[1] - inside[0], inside[-1] - inside[-2])) if percentile > 99.98 else 0
    assert lowest == pytest.approx(expected[0], abs=2 * width + gap)
    assert highest == pytest.approx(expected[1], abs=2 * width + gap)
    assert ((values >= lowest) & (values <= highest)).mean() >= percentile / 100 - 1e-9


def squared_error(values: np.ndarray, lowest: float, highest: float) -> float:
    scale = (highest - lowest) / 255
    zero = np.round(-lowest / scale)
    steps = np.clip(np.round(values.astype(np.float64) / scale) + zero, 0, 255)
    return float((((steps - zero) * scale - values) ** 2).mean())


def test_mse_is_as_good_as_a_search_over_both_ends(values):
    found_error = squared_error(values, *mse_range(histogram_of(values)))
    lowest, highest = min(0.0, float(values.min())), max(0.0, float(values.max()))
    every = [
        squared_error(values, low * lowest, high * highest)
        for low in (np.linspace(0.02, 1, 25) if lowest < 0 else [0.0])
        for high in np.linspace(0.02, 1, 25)
    ]
    # One end after the other finds a range that is nearly as good as the best pair.
    assert found_error <= 1.15 * min(every)
    assert found_error <= squared_error(values, lowest, highest) * 1.001


def slow_divergence(sizes: list[int], kept: int) -> float:
    """Return the divergence as the talk's slides write it: a loop over the levels."""
    actual = [float(size) for size in sizes[:kept]]
    rounded = [0.0] * kept
    for level in range(128):
        bins = [place for place in range(kept) if place * 128 // kept == level]
        filled = [place for place in bins if actual[place]]
        for place in filled:
            rounded[place] = sum(actual[other] for other in bins) / len(filled)
    actual[-1] += sum(sizes[kept:])
    total, other = sum(actual), sum(rounded)
    return sum(
        one / total * np.log((one / total) / max(two / other, 1e-12))
        for one, two in zip(actual, rounded, strict=True)
        if one
    )


def test_entropy_has_the_least_divergence():
    values = np.random.default_rng(0).laplace(size=5_000).astype(np.float32)
    histogram = histogram_of(values)
    lowest, highest = entropy_range(histogram)
    sizes = [int(count) for count in histogram.counts[BINS // 2 :] + histogram.counts[: BINS // 2][::-1]]
    tried = range(128, BINS // 2 + 1, 4)
    some = [*tried[::40], round(max(-lowest, highest) / histogram.limit * BINS / 2)]
    divergences = [slow_divergence(sizes, kept) for kept in some]
    assert min(divergences) == pytest.approx(divergences[-1], rel=1e-9)


def test_a_tensor_that_is_zero_everywhere_has_an_empty_range():
    histogram = histogram_of(np.zeros(10, np.float32))
    for calibrator in ("minmax", "percentile", "mse", "entropy"):
        assert choose_range(histogram, QuantizeSettings(calibrator=calibrator)) == (0.0, 0.0)
