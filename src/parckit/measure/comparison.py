"""Accuracy, latency and size of candidates side by side: which of them are worth a choice."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

from parckit.contract import InputError, ParckitError
from parckit.data import Batch
from parckit.measure import cost
from parckit.measure.candidates import Candidate
from parckit.measure.conditions import Conditions, watch
from parckit.measure.evaluation import Evaluation, EvaluationData, Track, evaluate_session
from parckit.measure.interleaved import Interval
from parckit.measure.latency import time_candidates
from parckit.measure.probing import probe
from parckit.measure.ranking import not_separable, pareto_front
from parckit.measure.timings import Benchmark, Schedule
from parckit.networks import open_checkpoint
from parckit.runtimes import Session

_NORMAL_95 = 1.96
"""Half the width of a normal distribution's interval of 95 %, in standard deviations."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Compared:
    """What is compared of a candidate.

    Attributes:
        evaluation: how good it is.
        benchmark: how fast it is.
        file_bytes: size of all its files.
        params: learned parameters of the network; None if the file does not tell.
        madds: multiply-adds for one image, in the convolution form; None if the file does not tell.
    """

    evaluation: Evaluation
    benchmark: Benchmark
    file_bytes: int
    params: int | None
    madds: int | None

    @property
    def image_time(self) -> Interval:
        """The median time for one image and its interval, milliseconds."""
        return self.benchmark.timings[0].image_interval

    @property
    def margin(self) -> float | None:
        """How far chance moves top-1 with so many images, points: half its interval of 95 %. None without top-1."""
        score = self.evaluation.score
        if "top1" not in score.scalars:
            return None
        share = score.scalars["top1"] / 100
        return 100 * _NORMAL_95 * math.sqrt(share * (1 - share) / score.images)


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Candidates side by side.

    Attributes:
        candidates: name of the candidate -> what is compared.
        score: name of the scalar that says how good a network is.
        schedule: how the latency was measured.
        conditions: what else the machine did while the latency was measured.
        failures: name of a candidate that could not be evaluated -> why, in a line.
    """

    candidates: Mapping[str, Compared]
    score: str
    schedule: Schedule
    conditions: Conditions
    failures: Mapping[str, str] = field(default_factory=dict[str, str])

    @property
    def scores(self) -> dict[str, float]:
        """Name of the candidate -> its score, percent."""
        return {name: entry.evaluation.score.scalars[self.score] for name, entry in self.candidates.items()}

    @property
    def image_times(self) -> dict[str, Interval]:
        """Name of the candidate -> its time for one image, milliseconds."""
        return {name: entry.image_time for name, entry in self.candidates.items()}

    @property
    def front(self) -> tuple[str, ...]:
        """The candidates that no other one beats; see `pareto_front`."""
        return pareto_front(self.image_times, self.scores)

    def to_plain(self) -> dict[str, object]:
        """Return the content of a record."""
        return {
            "score": self.score,
            "candidates": [
                {
                    "name": name,
                    "scalars": dict(entry.evaluation.score.scalars),
                    "images": entry.evaluation.score.images,
                    "margin": entry.margin,
                    "image_ms": asdict(entry.image_time),
                    "benchmark": asdict(entry.benchmark),
                    "file_bytes": entry.file_bytes,
                    "params": entry.params,
                    "madds": entry.madds,
                }
                for name, entry in self.candidates.items()
            ],
            "front": self.front,
            "not_separable": not_separable(self.image_times),
            "schedule": asdict(self.schedule),
            "conditions": asdict(self.conditions),
        }


def compare(
    candidates: Sequence[Candidate],
    data: EvaluationData,
    schedule: Schedule,
    *,
    scores: Mapping[str, str],
    track: "Track[Batch]" = iter,
) -> Comparison:
    """Evaluate all candidates, then time them in turns. Those that cannot be evaluated are left out.

    Args:
        candidates: at least two, for the same task.
        data: what they are evaluated on.
        schedule: how their latency is measured.
        scores: task -> name of the scalar that says how good a network is.
        track: gets the batches while they are evaluated.

    Raises:
        InputError: if there are fewer than two candidates, or their tasks differ.
        ParckitError: if no candidate can be evaluated.
    """
    if len(candidates) < 2:
        raise InputError(f"{candidates[0].name}: is the only candidate; a comparison needs two or more")
    sessions, failures = _open(candidates)
    tasks = {name: session.spec.task for name, session in sessions.items()}
    if len({*tasks.values()}) > 1:
        listed = ", ".join(f"{name}: {task}" for name, task in tasks.items())
        raise InputError(f"the candidates have different tasks ({listed}); compare those of one task")
    digests = {candidate.name: candidate.sha256 for candidate in candidates if candidate.name in sessions}
    evaluations: dict[str, Evaluation] = {}
    for name, session in sessions.items():
        try:
            evaluations[name] = evaluate_session(session, data, track=track)
        except ParckitError as error:
            failures[name] = error
    if not evaluations:
        raise next(iter(failures.values()))
    runnable = [candidate for candidate in candidates if candidate.name in evaluations]
    with watch() as seen:
        benchmarks = time_candidates({candidate.name: candidate.open for candidate in runnable}, schedule)
    compared: dict[str, Compared] = {}
    for candidate in runnable:
        params, madds = _cost(candidate)
        compared[candidate.name] = Compared(
            evaluation=evaluations[candidate.name],
            benchmark=replace(benchmarks[candidate.name], sha256=digests[candidate.name]),
            file_bytes=candidate.file_bytes,
            params=params,
            madds=madds,
        )
    return Comparison(
        candidates=compared,
        score=scores[next(iter(tasks.values()))],
        schedule=schedule,
        conditions=seen.conditions,
        failures={name: str(error) for name, error in failures.items()},
    )


def _open(candidates: Sequence[Candidate]) -> tuple[dict[str, Session], dict[str, ParckitError]]:
    """Return the sessions of the candidates by name, and the errors of those that cannot be opened and run.

    Raises:
        ParckitError: if no candidate can be opened and run.
    """
    sessions: dict[str, Session] = {}
    # An engine that crashes does so in another process, and is not opened here.
    loadings, failures = probe(candidates)
    for candidate in (entry for entry in candidates if entry.name in loadings):
        try:
            sessions[candidate.name] = candidate.open()
        except ParckitError as error:
            failures[candidate.name] = error
    if not sessions:
        raise next(iter(failures.values()))
    return sessions, failures


def _cost(candidate: Candidate) -> tuple[int | None, int | None]:
    """Return a network's parameters and multiply-adds. An ONNX file alone does not tell them."""
    if candidate.contract is not None:
        return candidate.contract.params, candidate.contract.madds
    if candidate.engine.name != "torch":
        return None, None
    network, spec = open_checkpoint(candidate.path)
    total = cost.count(network, size=spec.preprocessing.size, channels=spec.preprocessing.channels)
    return total.params, total.madds
