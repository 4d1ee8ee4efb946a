"""Who is faster, as far as the measurement can tell."""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

from parckit.measure.interleaved import Interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Place:
    """The place of a candidate among others; the smallest median is the best.

    Attributes:
        name: the candidate.
        best: 1 more than the number of candidates whose interval lies below this one's.
        worst: the number of all candidates, less those whose interval lies above this one's.
    """

    name: str
    best: int
    worst: int

    def __str__(self) -> str:
        return str(self.best) if self.best == self.worst else f"{self.best} to {self.worst}"


def rank(intervals: Mapping[str, Interval]) -> tuple[Place, ...]:
    """Return the candidates from the smallest median to the largest, with the places that they may have.

    Only intervals that do not overlap decide about a place. So candidates whose intervals overlap share places.

    Args:
        intervals: name of the candidate -> its time for one image, or anything else that is better if it is smaller.
    """
    places: list[Place] = []
    for name, interval in sorted(intervals.items(), key=lambda item: item[1].median):
        better = sum(other.high < interval.low for other in intervals.values())
        worse = sum(other.low > interval.high for other in intervals.values())
        places.append(Place(name=name, best=1 + better, worst=len(intervals) - worse))
    return tuple(places)


def not_separable(intervals: Mapping[str, Interval]) -> tuple[tuple[str, str], ...]:
    """Return the pairs of candidates whose intervals overlap: nobody can say from them which one is faster."""
    ordered = sorted(intervals, key=lambda name: intervals[name].median)
    return tuple(pair for pair in combinations(ordered, 2) if intervals[pair[0]].overlaps(intervals[pair[1]]))


def pareto_front(intervals: Mapping[str, Interval], scores: Mapping[str, float]) -> tuple[str, ...]:
    """Return the candidates that no other one beats: those worth a choice, from the smallest median to the largest.

    Another candidate beats one if its score is higher and it is not clearly slower, or if its score is equal and it is
    clearly faster. "Clearly" means that the intervals do not overlap.

    Args:
        intervals: name of the candidate -> its time for one image.
        scores: name of the candidate -> how good it is; higher is better.
    """

    def beats(other: str, name: str) -> bool:
        if scores[other] == scores[name]:
            return intervals[other].high < intervals[name].low
        return scores[other] > scores[name] and intervals[other].low <= intervals[name].high

    ordered = sorted(intervals, key=lambda name: intervals[name].median)
    return tuple(name for name in ordered if not any(beats(other, name) for other in ordered))
