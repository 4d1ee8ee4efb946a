"""Compare the speed of alternatives on a noisy machine: run all of them in every round, and compare within rounds."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter

import numpy as np

_INTERVAL = (0.025, 0.975)
_RESAMPLES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times faster a candidate is than the baseline, measured side by side.

    Attributes:
        speedup: median over rounds of the baseline's time divided by the candidate's.
        low: lower end of the median's 95 % bootstrap interval.
        high: its upper end.
    """

    speedup: float
    low: float
    high: float


def interleave(
    candidates: Mapping[str, Callable[[], object]], *, seconds: float, rounds: int = 5
) -> dict[str, list[float]]:
    """Time callables in turn, once each per round, in an order that is drawn anew for every round.

    Each callable is called twice, and only the second call is timed: the first one replaces what another callable left
    in the caches. In a fixed order a callable would always follow the same other one; that alone can make equal
    callables differ by 10 %.

    Args:
        candidates: what to time, by name.
        seconds: how long all rounds together take, about.
        rounds: the smallest number of rounds, even if they take longer than `seconds`.

    Returns:
        The seconds of every timed call, by name; entry i of every list comes from round i.
    """
    times: dict[str, list[float]] = {name: [] for name in candidates}
    rng = np.random.default_rng(0)
    end = perf_counter() + seconds
    while len(next(iter(times.values()))) < rounds or perf_counter() < end:
        for name in rng.permutation(list(candidates)).tolist():
            candidates[name]()
            start = perf_counter()
            candidates[name]()
            times[name].append(perf_counter() - start)
    return times


def compare_times(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Return how many times faster the candidate is; what slows a whole round down cancels out."""
    ratios = np.asarray(baseline) / np.asarray(candidate)
    draws = np.random.default_rng(0).choice(ratios, size=(_RESAMPLES, len(ratios)))
    low, high = np.quantile(np.median(draws, axis=1), _INTERVAL)
    return Ratio(speedup=float(np.median(ratios)), low=float(low), high=float(high))
