import pytest

from parckit.measure.interleaved import Interval
from parckit.measure.ranking import not_separable, pareto_front, rank


def around(median: float, spread: float = 0.1) -> Interval:
    return Interval(median=median, low=median - spread, high=median + spread)


def test_intervals_that_are_apart_give_an_order():
    places = rank({"slow": around(3), "fast": around(1), "middle": around(2)})
    assert [(place.name, str(place)) for place in places] == [("fast", "1"), ("middle", "2"), ("slow", "3")]


def test_intervals_that_overlap_give_no_order():
    intervals = {"a": around(1), "b": around(1.15), "c": around(1.3), "d": around(9)}
    # a and c are apart, but b overlaps with both.
    assert [str(place) for place in rank(intervals)] == ["1 to 2", "1 to 3", "2 to 3", "4"]
    assert not_separable(intervals) == (("a", "b"), ("b", "c"))


def test_intervals_that_touch_overlap():
    assert not_separable({"a": Interval(median=1, low=0, high=2), "b": Interval(median=3, low=2, high=4)}) == (
        ("a", "b"),
    )


@pytest.mark.parametrize(
    ("latencies", "scores", "front"),
    [
        ({"fast": 1, "good": 2}, {"fast": 50, "good": 60}, ("fast", "good")),
        ({"fast": 1, "bad": 2}, {"fast": 50, "bad": 40}, ("fast",)),
        ({"fast": 1, "slow": 2}, {"fast": 50, "slow": 50}, ("fast",)),
        # Nobody can say which one is faster, so the better score decides.
        ({"first": 1, "second": 1.01}, {"first": 50, "second": 51}, ("second",)),
        ({"first": 1, "second": 1.01}, {"first": 50, "second": 50}, ("first", "second")),
    ],
    ids=str,
)
def test_the_front_holds_what_no_other_beats(latencies, scores, front):
    assert pareto_front({name: around(value) for name, value in latencies.items()}, scores) == front
