"""Timing alternatives side by side."""

import itertools
from collections import Counter

import pytest

from interleaved import compare_times, interleave


def test_candidates_take_turns_and_their_first_calls_do_not_count():
    calls = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0, rounds=3)
    rounds = ["".join(calls[start : start + 4]) for start in (0, 4, 8)]
    assert {*rounds} <= {"aabb", "bbaa"}
    assert [len(seconds) for seconds in times.values()] == [3, 3]


def test_none_has_the_same_neighbour_always():
    calls = []
    interleave({name: lambda name=name: calls.append(name) for name in "abcd"}, seconds=0, rounds=40)
    singles = calls[::2]  # of the two calls in a row
    before_d = Counter(first for first, second in itertools.pairwise(singles) if second == "d")
    assert min(before_d[name] for name in "abc") >= 5
    assert Counter(singles[::4]).keys() == {*"abcd"}


def test_it_goes_on_for_the_time_given(monkeypatch):
    clock = itertools.count()  # one second passes between any two looks at it
    monkeypatch.setattr("interleaved.perf_counter", lambda: next(clock))
    assert interleave({"a": lambda: None}, seconds=30, rounds=1)["a"] == [1] * 10


def test_the_ratio_ignores_what_slows_both_down():
    noise = [1, 5, 2, 9, 1, 3, 1]
    ratio = compare_times([3.0 * n for n in noise], [1.5 * n for n in noise])
    assert (ratio.speedup, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_the_interval_holds_the_median_and_widens_with_the_spread():
    narrow, wide = (compare_times([3 + spread * n for n in (-2, -1, 0, 1, 2)], [1.0] * 5) for spread in (0.1, 1.0))
    assert narrow.low < narrow.speedup == wide.speedup == 3 < narrow.high
    assert wide.high - wide.low > narrow.high - narrow.low
