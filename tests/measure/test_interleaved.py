"""Timing alternatives side by side."""

import itertools
from collections import Counter

import numpy as np
import pytest

from parckit.measure.interleaved import compare_times, interleave, median_interval


def test_candidates_take_turns_and_their_first_calls_do_not_count():
    calls = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0, least=3)
    rounds = ["".join(calls[start : start + 4]) for start in (0, 4, 8)]
    assert {*rounds} <= {"aabb", "bbaa"}
    assert [len(seconds) for seconds in times.values()] == [3, 3]


def test_none_has_the_same_neighbour_always():
    calls = []
    interleave({name: lambda name=name: calls.append(name) for name in "abcd"}, seconds=0, least=40)
    singles = calls[::2]  # of the two calls in a row
    before_d = Counter(first for first, second in itertools.pairwise(singles) if second == "d")
    assert min(before_d[name] for name in "abc") >= 5
    assert Counter(singles[::4]).keys() == {*"abcd"}


def test_it_goes_on_for_the_time_given(monkeypatch):
    clock = itertools.count()  # one second passes between any two looks at it
    monkeypatch.setattr("parckit.measure.interleaved.perf_counter", lambda: next(clock))
    assert interleave({"a": lambda: None}, seconds=30, least=1)["a"] == [1] * 10


def test_the_ratio_ignores_what_slows_both_down():
    noise = [1, 5, 2, 9, 1, 3, 1]
    ratio = compare_times([3.0 * n for n in noise], [1.5 * n for n in noise])
    assert (ratio.speedup, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_the_interval_holds_the_median_and_widens_with_the_spread():
    narrow, wide = (compare_times([3 + spread * n for n in (-2, -1, 0, 1, 2)], [1.0] * 5) for spread in (0.1, 1.0))
    assert narrow.low < narrow.speedup == wide.speedup == 3 < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low


# From tables of the sign test: ranks of the interval of 95 % for the median of n values, counted from 1.
@pytest.mark.parametrize(("count", "low", "high"), [(6, 1, 6), (8, 1, 8), (9, 2, 8), (20, 6, 15), (30, 10, 21)])
def test_the_interval_is_the_tabulated_one(count, low, high):
    interval = median_interval([*range(1, count + 1)][::-1])
    assert (interval.low, interval.median, interval.high) == (low, (count + 1) / 2, high)


def test_nineteen_of_twenty_intervals_hold_the_true_median():
    rng = np.random.default_rng(0)
    # Lognormal, as latencies are; its median is 1.
    held = [
        interval.low <= 1 <= interval.high
        for interval in (median_interval(rng.lognormal(size=20).tolist()) for _ in range(1000))
    ]
    # The exact probability is 95.9 %; its standard error with 1000 draws is 0.6 %.
    assert 0.94 < np.mean(held) < 0.978


def test_a_ratio_is_clear_if_its_interval_leaves_out_1():
    assert compare_times([2.0] * 6, [1.0] * 6).is_clear
    assert not compare_times([1.0, 2.0] * 6, [1.5] * 12).is_clear
