"""Timing alternatives side by side."""

import time

import pytest

from parckit.measure.interleaved import compare_times, interleave


def test_candidates_take_turns_and_their_first_calls_do_not_count():
    calls = []
    times = interleave({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, seconds=0, rounds=3)
    assert calls == ["a", "a", "b", "b"] * 3
    assert [len(seconds) for seconds in times.values()] == [3, 3]


def test_it_goes_on_for_the_time_given():
    times = interleave({"a": lambda: time.sleep(0.002)}, seconds=0.05, rounds=1)
    assert len(times["a"]) >= 3
    assert min(times["a"]) >= 0.002


def test_the_ratio_ignores_what_slows_both_down():
    noise = [1, 5, 2, 9, 1, 3, 1]
    ratio = compare_times([3.0 * n for n in noise], [1.5 * n for n in noise])
    assert (ratio.speedup, ratio.low, ratio.high) == pytest.approx((2, 2, 2))


def test_the_interval_holds_the_median_and_widens_with_the_spread():
    ratio = compare_times([1.0, 2.0, 3.0, 4.0, 5.0], [1.0] * 5)
    assert ratio.low < ratio.speedup == 3 < ratio.high
