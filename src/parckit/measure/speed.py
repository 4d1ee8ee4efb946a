"""Everything that `parckit bench` measures of candidates, side by side."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from parckit.contract import to_plain
from parckit.measure.candidates import Candidate
from parckit.measure.conditions import Conditions, watch
from parckit.measure.interleaved import Interval, Ratio, compare_times
from parckit.measure.latency import time_candidates
from parckit.measure.memory import Loading
from parckit.measure.probing import probe
from parckit.measure.ranking import not_separable, rank
from parckit.measure.stages import Stages, time_stages
from parckit.measure.timings import Benchmark, Schedule, bench_values
from parckit.processing import Picture


@dataclass(frozen=True, kw_only=True, slots=True)
class Measured:
    """What was measured of a candidate.

    Attributes:
        candidate: the candidate.
        benchmark: its latency and throughput.
        stages: where the time of an answer goes, with one thread.
        loading: what loading costs, in a process of its own.
    """

    candidate: Candidate
    benchmark: Benchmark
    stages: Stages
    loading: Loading

    def to_plain(self) -> dict[str, object]:
        """Return what a record says of a candidate; `parckit report` reads it."""
        return {
            **bench_values(self.benchmark, model=self.candidate.path),
            "precision": None if self.candidate.artefact is None else self.candidate.artefact.precision,
            "file_bytes": self.candidate.file_bytes,
            "loading": asdict(self.loading),
            "stages": asdict(self.stages),
        }


@dataclass(frozen=True, kw_only=True, slots=True)
class Measurement:
    """What was measured of all candidates.

    Attributes:
        candidates: name of the candidate -> what was measured.
        schedule: what was measured and how long.
        conditions: what else the machine did meanwhile.
        failures: name of a candidate that could not be measured -> why, in a line.
    """

    candidates: Mapping[str, Measured]
    schedule: Schedule
    conditions: Conditions
    failures: Mapping[str, str] = field(default_factory=dict[str, str])

    def image_times(self, threads: int) -> dict[str, Interval]:
        """Return the interval of every candidate's median time for one image with a number of threads, milliseconds."""
        place = self.schedule.threads.index(threads)
        return {name: entry.benchmark.timings[place].image_interval for name, entry in self.candidates.items()}

    @property
    def has_batches(self) -> bool:
        """Whether a run of a candidate takes several images, so that its latency is not the time for one image."""
        return any(entry.benchmark.timings[0].batch_size > 1 for entry in self.candidates.values())

    def ratio(self, name: str, *, baseline: str, threads: int) -> Ratio:
        """Return how many times faster a candidate is than another one for one image, compared within every round."""
        place = self.schedule.threads.index(threads)
        ours, theirs = (self.candidates[key].benchmark.timings[place].image_ms for key in (name, baseline))
        return compare_times(theirs, ours)

    def to_plain(self, against: Mapping[str, str]) -> dict[str, object]:
        """Return the content of a record; `parckit report` reads it.

        The record of one candidate is flat. The record of several has a list of them.

        Args:
            against: name of a candidate -> the candidate that it is compared with.
        """
        entries = [{"name": name, **entry.to_plain()} for name, entry in self.candidates.items()]
        content: dict[str, object] = dict(entries[0]) if len(entries) == 1 else {"candidates": entries}
        if len(entries) > 1:
            content["rankings"] = [self._ranking(threads) for threads in self.schedule.threads]
        if against:
            content["ratios"] = [
                {
                    "threads": threads,
                    "candidate": name,
                    "against": other,
                    **asdict(self.ratio(name, baseline=other, threads=threads)),
                }
                for threads in self.schedule.threads
                for name, other in against.items()
            ]
        return {**content, "schedule": to_plain(self.schedule), "conditions": asdict(self.conditions)}

    def _ranking(self, threads: int) -> dict[str, object]:
        intervals = self.image_times(threads)
        return {
            "threads": threads,
            "places": [asdict(place) for place in rank(intervals)],
            "not_separable": not_separable(intervals),
        }


def measure_speed(candidates: Sequence[Candidate], schedule: Schedule, *, picture: Picture) -> Measurement:
    """Measure all candidates in turns. Those that cannot be loaded or run are left out.

    Args:
        candidates: at least one.
        schedule: what is measured and how long.
        picture: what the candidates answer while the stages of an answer are timed.

    Raises:
        ParckitError: if no candidate can be loaded and run.
    """
    # The processes that only load come first, so that no session of this process is in their way. What fails or crashes
    # there is not opened here.
    loadings, failures = probe(candidates)
    runnable = [candidate for candidate in candidates if candidate.name in loadings]
    digests = {candidate.name: candidate.sha256 for candidate in runnable}
    with watch() as seen:
        benchmarks = time_candidates({candidate.name: candidate.open for candidate in runnable}, schedule)
        sessions = {candidate.name: candidate.open(1) for candidate in runnable}
        stages = time_stages(sessions, picture=picture, seconds=schedule.seconds / 2, seed=schedule.seed)
    measured = {
        candidate.name: Measured(
            candidate=candidate,
            benchmark=replace(benchmarks[candidate.name], sha256=digests[candidate.name]),
            stages=stages[candidate.name],
            loading=loadings[candidate.name],
        )
        for candidate in runnable
    }
    reasons = {name: str(error) for name, error in failures.items()}
    return Measurement(candidates=measured, schedule=schedule, conditions=seen.conditions, failures=reasons)


def match_baselines(candidates: Sequence[Candidate], others: Sequence[Candidate]) -> dict[str, str]:
    """Return which of the others every candidate is compared with.

    That is the one with the same engine and precision; else the one with the same engine; else the first. A candidate
    is not compared with itself.
    """

    def likeness(candidate: Candidate, other: Candidate) -> tuple[bool, bool]:
        pair = (candidate.artefact, other.artefact)
        precisions = {"fp32" if artefact is None else artefact.precision for artefact in pair}
        return (candidate.engine == other.engine, len(precisions) == 1)

    pairs: dict[str, str] = {}
    for candidate in candidates:
        choices = [other for other in others if other.name != candidate.name]
        if choices:
            pairs[candidate.name] = max(choices, key=lambda other: likeness(candidate, other)).name
    return pairs
