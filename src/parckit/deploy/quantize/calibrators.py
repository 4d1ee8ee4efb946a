"""Calibrators: from the histogram of an activation to the range that 8 bits represent."""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from parckit.deploy.quantize.histograms import BINS, Histogram
from parckit.deploy.quantize.settings import Calibrator, QuantizeSettings

Range = tuple[float, float]

LEVELS = 255
"""Steps between the lowest and the highest number of 8 bits."""
_SHRINKS = np.arange(1, 101) / 100
"""Shares of a range's end that the calibrator mse tries."""
_HALF_LEVELS = 128
"""Numbers of 8 bits on one side of zero, as the calibrator entropy counts them."""
_TINY = 1e-12
"""Probability in place of zero where a logarithm needs one."""


def choose_ranges(histograms: Mapping[str, Histogram], settings: QuantizeSettings) -> dict[str, Range]:
    """Return the range of every activation."""
    return {name: choose_range(histogram, settings) for name, histogram in histograms.items()}


def choose_range(histogram: Histogram, settings: QuantizeSettings) -> Range:
    """Return the range of an activation, as the settings' calibrator chooses it.

    It contains zero, because paddings must be exact.
    """
    if settings.calibrator == "percentile":
        lowest, highest = percentile_range(histogram, percentile=settings.percentile)
    else:
        lowest, highest = _CALIBRATORS[settings.calibrator](histogram)
    return min(lowest, 0.0), max(highest, 0.0)


def minmax_range(histogram: Histogram) -> Range:
    """Return the lowest and the highest number."""
    return histogram.lowest, histogram.highest


def percentile_range(histogram: Histogram, *, percentile: float) -> Range:
    """Return the range that keeps a share of the numbers, in percent. Half of the rest is cut off at each end.

    A bin in which the cut falls stays as a whole.
    """
    cut = (100 - percentile) / 200
    total = int(histogram.counts.sum())
    shares = np.concatenate([[0], np.cumsum(histogram.counts)]) / total
    edges = np.linspace(-histogram.limit, histogram.limit, BINS + 1)
    lowest = edges[max(0, np.searchsorted(shares, cut, side="right") - 1)] if cut else histogram.lowest
    highest = edges[min(BINS, np.searchsorted(shares, 1 - cut, side="left"))] if cut else histogram.highest
    return max(histogram.lowest, float(lowest)), min(histogram.highest, float(highest))


def mse_range(histogram: Histogram) -> Range:
    """Return the range with the least mean squared error of rounding and cutting off.

    First the upper end moves inwards while the lower one stays, then the lower end.
    """
    lowest, highest = min(histogram.lowest, 0.0), max(histogram.highest, 0.0)
    if lowest == highest:
        return lowest, highest
    kept = histogram.counts > 0
    centres, counts = histogram.centres[kept], histogram.counts[kept].astype(np.float64)
    if highest > 0:
        errors = [_squared_error(centres, counts, (lowest, highest * share)) for share in _SHRINKS]
        highest *= float(_SHRINKS[_last_least(errors)])
    if lowest < 0:
        errors = [_squared_error(centres, counts, (lowest * share, highest)) for share in _SHRINKS]
        lowest *= float(_SHRINKS[_last_least(errors)])
    return lowest, highest


def _last_least(errors: list[float]) -> int:
    """Return the index of the least error; of equal ones, the last, which cuts off least."""
    return len(errors) - 1 - int(np.argmin(errors[::-1]))


def _squared_error(centres: NDArray[np.float64], counts: NDArray[np.float64], ends: Range) -> float:
    """Return the sum of the squared errors if a range is represented by 8 bits."""
    lowest, highest = ends
    scale = (highest - lowest) / LEVELS
    zero = np.round(-lowest / scale)
    rounded = (np.clip(np.round(centres / scale) + zero, 0, LEVELS) - zero) * scale
    return float(counts @ (rounded - centres) ** 2)


def entropy_range(histogram: Histogram) -> Range:
    """Return the symmetric range whose numbers of 8 bits keep the distribution of absolute values best.

    It is cut to the numbers that occurred. The measure is the Kullback-Leibler divergence; see S. Migacz, "8-bit
    inference with TensorRT", GTC 2017.
    """
    half = BINS // 2
    sizes = histogram.counts[half:] + histogram.counts[:half][::-1]
    divergences = [_divergence(sizes, kept=kept) for kept in range(_HALF_LEVELS, half + 1, 4)]
    kept = range(_HALF_LEVELS, half + 1, 4)[_last_least(divergences)]
    limit = histogram.limit * kept / half
    return max(histogram.lowest, -limit), min(histogram.highest, limit)


def _divergence(sizes: NDArray[np.int64], *, kept: int) -> float:
    """Return the divergence between the first bins, with all that lies beyond in the last one, and their 8-bit form."""
    actual = sizes[:kept].astype(np.float64)
    # The 8-bit form spreads the numbers of every level evenly over its bins that are not empty.
    level = np.arange(kept) * _HALF_LEVELS // kept
    filled = actual > 0
    totals = np.bincount(level, weights=actual, minlength=_HALF_LEVELS)
    bins = np.bincount(level, weights=filled, minlength=_HALF_LEVELS)
    rounded = np.where(filled, totals[level] / np.maximum(bins[level], 1), 0)
    actual[-1] += sizes[kept:].sum()
    if not rounded.sum():
        return np.inf
    actual, rounded = actual / actual.sum(), rounded / rounded.sum()
    present = actual > 0
    return float((actual[present] * np.log(actual[present] / np.maximum(rounded[present], _TINY))).sum())


_CALIBRATORS: Mapping[Calibrator, Callable[[Histogram], Range]] = {
    "minmax": minmax_range,
    "mse": mse_range,
    "entropy": entropy_range,
}
"""All calibrators without a parameter."""
