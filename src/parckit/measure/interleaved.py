"""Compare the speed of alternatives on a noisy machine: run all of them in every round, and compare within rounds.

Noise does not come as single slow calls. A neighbour, a clock frequency or a page of memory changes for seconds. So the
unit of the statistics is the round, not the call: every round gives one number for each candidate, and an interval says
how well the rounds agree.

The interval of a median is the one of order statistics. Of n rounds, half are expected below the true median, each with
a chance of one half. So the k-th smallest and the k-th largest round enclose the true median with a probability that
follows from the binomial distribution alone, whatever the distribution of the noise is.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import comb
from statistics import median
from time import perf_counter

import numpy as np

LEAST_ROUNDS = 6
"""With fewer rounds, not even the smallest and the largest one enclose the median with a probability of 95 %."""

_MISSED = 0.025
"""Probability that the true median lies below, and that it lies above, an interval of 95 %."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Interval:
    """A median over rounds, and where the true median is with a probability of at least 95 %.

    Attributes:
        median: median over the rounds.
        low: lower end of the interval.
        high: upper end of the interval.
    """

    median: float
    low: float
    high: float

    def overlaps(self, other: "Interval") -> bool:
        """Return whether the intervals have a value in common, so that nobody can say which median is smaller."""
        return self.low <= other.high and other.low <= self.high


@dataclass(frozen=True, kw_only=True, slots=True)
class Ratio:
    """How many times faster a candidate is than the baseline, measured side by side.

    Attributes:
        speedup: median over rounds of the baseline's time divided by the candidate's.
        low: lower end of the median's 95 % interval.
        high: its upper end.
    """

    speedup: float
    low: float
    high: float

    @property
    def is_clear(self) -> bool:
        """Whether the interval leaves out 1, so that one of the two is faster."""
        return not self.low <= 1 <= self.high


def rounds(
    names: Sequence[str], *, seconds: float, least: int = LEAST_ROUNDS, seed: int = 0
) -> Iterator[tuple[str, ...]]:
    """Yield the names in an order that is drawn anew for every round.

    In a fixed order a candidate would always follow the same other one; that alone can make equal candidates differ by
    10 %.

    Args:
        names: the candidates.
        seconds: how long all rounds together take, about.
        least: the smallest number of rounds, even if they take longer than `seconds`.
        seed: of the order.
    """
    rng = np.random.default_rng(seed)
    end = perf_counter() + seconds
    done = 0
    while done < least or perf_counter() < end:
        order: list[int] = rng.permutation(len(names)).tolist()
        yield tuple(names[index] for index in order)
        done += 1


def interleave(
    candidates: Mapping[str, Callable[[], object]],
    *,
    seconds: float,
    least: int = LEAST_ROUNDS,
    seed: int = 0,
    clock: Callable[[], float] | None = None,
) -> dict[str, list[float]]:
    """Time callables in turn, once each per round.

    Each callable is called twice, and only the second call is timed: the first one replaces what another callable left
    in the caches.

    Args:
        candidates: what to time, by name.
        seconds: how long all rounds together take, about.
        least: the smallest number of rounds, even if they take longer than `seconds`.
        seed: of the order of the candidates in every round.
        clock: what a call is timed with; None for `time.perf_counter`. `time.process_time` does not count while other
            programs have the processor.

    Returns:
        The seconds of every timed call, by name; entry i of every list comes from round i.
    """
    clock = clock or perf_counter
    times: dict[str, list[float]] = {name: [] for name in candidates}
    for order in rounds(list(candidates), seconds=seconds, least=least, seed=seed):
        for name in order:
            candidates[name]()
            start = clock()
            candidates[name]()
            times[name].append(clock() - start)
    return times


def median_interval(values: Sequence[float]) -> Interval:
    """Return the median of the rounds, and its interval of 95 %.

    With fewer than `LEAST_ROUNDS` values, the interval reaches from the smallest to the largest and holds less.
    """
    ordered = sorted(values)
    count = len(ordered)
    # `below` is the probability that at most `skipped` rounds lie below the true median.
    skipped, below = 0, 1 / 2**count
    while skipped + 1 < count / 2 and below + comb(count, skipped + 1) / 2**count <= _MISSED:
        skipped += 1
        below += comb(count, skipped) / 2**count
    return Interval(median=median(ordered), low=ordered[skipped], high=ordered[count - 1 - skipped])


def compare_times(baseline: Sequence[float], candidate: Sequence[float]) -> Ratio:
    """Return how many times faster the candidate is; what slows a whole round down cancels out."""
    interval = median_interval([theirs / ours for theirs, ours in zip(baseline, candidate, strict=True)])
    return Ratio(speedup=interval.median, low=interval.low, high=interval.high)
