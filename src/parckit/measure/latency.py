"""Latency and throughput, measured as on boards: one image or one static batch at a time, all candidates in turns."""

import gc
import sys
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Barrier, BrokenBarrierError
from time import perf_counter_ns
from typing import NamedTuple

import numpy as np

from parckit.contract import Precision
from parckit.measure.digest import digest_of
from parckit.measure.interleaved import median_interval, rounds
from parckit.measure.timings import Benchmark, Schedule, StreamTiming, Timing
from parckit.runtimes import Images, Session, open_session

_NS_PER_MS = 1e6
_NS_PER_S = 1e9

_TURNS = 20
"""Rounds of a short measurement. Twenty give an interval that one odd round cannot move."""
_LONGEST_TURN = 0.15
"""Longest time of a turn, seconds, but for one long run. A longer measurement has more rounds instead: the shorter a
round is, the more alike is the noise that its candidates meet."""


OpenSession = Callable[[int], Session]
"""Opens a candidate with a number of threads."""


def benchmark(
    path: Path | str,
    *,
    threads: Sequence[int] = (1,),
    runtime: str | None = None,
    precision: Precision | None = None,
    artefact: str | None = None,
    warmup: float = 0.5,
    seconds: float = 3.0,
) -> Benchmark:
    """Measure latency and throughput of a checkpoint or bundle on this machine.

    Args:
        path: a bundle's folder, a checkpoint, or the name of weights that ship with parckit.
        threads: numbers of threads to measure with, one after the other.
        runtime: name of the engine; by default the first one that fits.
        precision: chooses an artefact of a bundle by its precision.
        artefact: chooses an artefact of a bundle by its name.
        warmup: how long every session runs before it is timed, seconds.
        seconds: how long latency is measured, and how long throughput is measured after that.

    Raises:
        InputError: if no artefact or engine fits, or a number is too small.
    """
    schedule = Schedule(threads=tuple(threads), streams=tuple(threads), warmup=warmup, seconds=seconds)
    opened: list[str] = []
    digests: list[str] = []

    def open_another(count: int) -> Session:
        # All sessions run the first one's artefact. To name it avoids the warning that several fit, for every session.
        name = opened[0] if opened and Path(path).is_dir() else artefact
        session = open_session(path, runtime=runtime, precision=precision, artefact=name, threads=count)
        if not opened:
            digests.append(digest_of(path, artefact=session.artefact))
        opened[:] = [session.artefact]
        return session

    speed = time_candidates({str(path): open_another}, schedule)[str(path)]
    return replace(speed, sha256=digests[0])


def time_candidates(candidates: Mapping[str, OpenSession], schedule: Schedule) -> dict[str, Benchmark]:
    """Measure all candidates in turns: every round runs all of them, in an order that is drawn for the round.

    A run takes one image, or the static batch of the graph. Latency is measured with one session that uses all
    threads. Throughput is measured with several streams at once; each has a session with one thread. Boards that serve
    several cameras work like this, because splitting operators among threads costs time.

    Args:
        candidates: name of the candidate -> what opens it.
        schedule: what is measured.
    """
    with _no_garbage_collection():
        latencies = {count: _time_latency(candidates, count, schedule) for count in schedule.threads}
        streams = {count: _time_streams(candidates, count, schedule) for count in sorted({*schedule.streams})}
    speeds: dict[str, Benchmark] = {}
    for name in candidates:
        first = latencies[schedule.threads[0]][name]
        speeds[name] = Benchmark(
            timings=tuple(
                _timing(
                    latencies[count][name],
                    threads=count,
                    images_per_second=streams[count][name].images_per_second if count in streams else None,
                )
                for count in schedule.threads
            ),
            streams=tuple(timings[name] for timings in streams.values()),
            engine=first.engine,
            artefact=first.artefact,
        )
    return speeds


class _Latency(NamedTuple):
    """What was measured with one session, which is closed.

    Attributes:
        engine: the session's engine.
        artefact: the session's artefact.
        batch_size: images of one run.
        turns: the durations of the runs of every round, milliseconds.
    """

    engine: str
    artefact: str
    batch_size: int
    turns: list[list[float]]


def _time_latency(candidates: Mapping[str, OpenSession], threads: int, schedule: Schedule) -> dict[str, _Latency]:
    # Some engines have one number of threads for the whole process. So only sessions with the same number are open.
    sessions = {name: open_candidate(threads) for name, open_candidate in candidates.items()}
    images = {name: one_batch(session) for name, session in sessions.items()}
    for name, session in sessions.items():
        _run(session, images[name], seconds=schedule.warmup)
    turns: dict[str, list[list[float]]] = {name: [] for name in sessions}
    for order in rounds(list(sessions), seconds=schedule.seconds * len(sessions), seed=schedule.seed):
        for name in order:
            # This run is not timed: it replaces what the candidate before left in the caches.
            sessions[name](images[name])
            turns[name].append(_run(sessions[name], images[name], seconds=_turn_seconds(schedule)))
    return {
        name: _Latency(session.engine, session.artefact, session.batch_size, turns[name])
        for name, session in sessions.items()
    }


def _timing(latency: _Latency, *, threads: int, images_per_second: float | None) -> Timing:
    runs = np.concatenate(latency.turns)
    p90, p95, p99 = percentiles(latency.turns, (90, 95, 99))
    medians = tuple(float(np.median(turn)) for turn in latency.turns)
    return Timing(
        threads=threads,
        batch_size=latency.batch_size,
        p50_ms=median_interval(medians).median,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=float(runs.mean()),
        min_ms=float(runs.min()),
        repeats=len(runs),
        images_per_second=images_per_second,
        round_ms=medians,
    )


def percentiles(turns: Sequence[Sequence[float]], shares: Sequence[float]) -> list[float]:
    """Return percentiles of all runs, in which every round has the same weight.

    A slow round has fewer runs in the same time. With equal weights for the runs, slow rounds would hardly count.

    Args:
        turns: the durations of the runs of every round.
        shares: which percentiles, 0 to 100.
    """
    runs = np.concatenate(turns)
    weights = np.concatenate([np.full(len(turn), 1 / len(turn)) for turn in turns])
    order = np.argsort(runs)
    reached = np.cumsum(weights[order]) / len(turns)
    # Rounding may leave the last share a little below 1.
    places = np.minimum(np.searchsorted(reached, np.asarray(shares) / 100), len(runs) - 1)
    return runs[order][places].tolist()


def _time_streams(candidates: Mapping[str, OpenSession], streams: int, schedule: Schedule) -> dict[str, StreamTiming]:
    sessions = {name: [open_candidate(1) for _ in range(streams)] for name, open_candidate in candidates.items()}
    images = {name: one_batch(group[0]) for name, group in sessions.items()}
    turns: dict[str, list[tuple[float, list[float]]]] = {name: [] for name in sessions}
    with ThreadPoolExecutor(streams) as pool, _torch_with_one_thread():
        for name, group in sessions.items():
            list(pool.map(lambda session, name=name: _run(session, images[name], seconds=schedule.warmup), group))
        for order in rounds(list(sessions), seconds=schedule.seconds * len(sessions), seed=schedule.seed):
            for name in order:
                turn = _run_together(pool, sessions[name], images[name], seconds=_turn_seconds(schedule))
                turns[name].append(turn)
    return {name: _stream_timing(streams, turns[name]) for name in sessions}


def _stream_timing(streams: int, turns: Sequence[tuple[float, list[float]]]) -> StreamTiming:
    throughput = median_interval([rate for rate, _ in turns])
    durations = [durations for _, durations in turns]
    p50, p90, p99 = percentiles(durations, (50, 90, 99))
    return StreamTiming(
        streams=streams,
        images_per_second=throughput.median,
        low=throughput.low,
        high=throughput.high,
        p50_ms=p50,
        p90_ms=p90,
        p99_ms=p99,
        repeats=sum(map(len, durations)),
    )


def _run_together(
    pool: ThreadPoolExecutor, sessions: Sequence[Session], image: Images, *, seconds: float
) -> tuple[float, list[float]]:
    """Run all sessions at the same time. Return their images per second together, and the duration of every run.

    Rates are measured per stream and added, because cores may have different speeds.
    """
    barrier = Barrier(len(sessions))

    def stream(session: Session) -> list[float]:
        try:
            session(image)
        except Exception:
            barrier.abort()
            raise
        barrier.wait()
        return _run(session, image, seconds=seconds)

    futures = [pool.submit(stream, session) for session in sessions]
    errors = [error for future in futures if (error := future.exception()) is not None]
    for error in (error for error in errors if not isinstance(error, BrokenBarrierError)):
        raise error
    streams = [future.result() for future in futures]
    rate = sum(len(image) * len(runs) / sum(runs) for runs in streams) * _NS_PER_S / _NS_PER_MS
    return rate, [duration for runs in streams for duration in runs]


def _turn_seconds(schedule: Schedule) -> float:
    return min(schedule.seconds / _TURNS, _LONGEST_TURN)


def _run(session: Session, image: Images, *, seconds: float) -> list[float]:
    """Run again and again for `seconds`, never for 0, and return the duration of every run in milliseconds."""
    durations: list[float] = []
    now = perf_counter_ns()
    end = now + seconds * _NS_PER_S
    while now < end:
        start = perf_counter_ns()
        session(image)
        now = perf_counter_ns()
        durations.append((now - start) / _NS_PER_MS)
    return durations


def one_batch(session: Session) -> Images:
    """Return images for one run. Their values are random, and the same every time."""
    # Values do not change the speed, except denormal numbers, which are slow. These random values do not lead to them.
    height, width = session.input.size or session.spec.preprocessing.size
    sizes = {"N": session.batch_size, "C": session.input.channels, "H": height, "W": width}
    shape = tuple(sizes[axis] for axis in session.input.layout)
    if session.input.normalised_inside:
        return np.random.default_rng(0).integers(0, 256, shape).astype(session.input.dtype)
    return np.random.default_rng(0).standard_normal(shape, np.float32).astype(session.input.dtype)


@contextmanager
def _torch_with_one_thread() -> Generator[None]:
    """Give torch one thread, if it is in use. Its number belongs to the process, so streams would change it at once."""
    engine = sys.modules.get("parckit.runtimes.torch")
    if engine is None:
        yield
        return
    with engine.torch_threads(1):
        yield


@contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Keep the collector from running inside a timed inference, as Python's timeit does."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
