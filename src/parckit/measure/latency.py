"""How fast a session answers, measured as boards are measured."""

import gc
import itertools
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter_ns

import numpy as np

from parckit.contract import InputError
from parckit.runtimes import Images, Session

_NS_PER_MS = 1e6
_NS_PER_S = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Speed with a number of threads.

    Attributes:
        threads: threads of one inference (latency), single-thread workers side by side (throughput).
        batch_size: images of one run.
        p50_ms: median latency of one run of `batch_size` images, milliseconds;
            `p90_ms`, `p95_ms`, `p99_ms`, `mean_ms`, `min_ms` alike.
        repeats: inferences that the latency was taken from.
        images_per_second: throughput of all workers together.
    """

    threads: int
    batch_size: int
    p50_ms: float
    p90_ms: float
    p95_ms: float
    p99_ms: float
    mean_ms: float
    min_ms: float
    repeats: int
    images_per_second: float


def benchmark(
    make_session: Callable[[int], Session],
    *,
    threads: Sequence[int],
    warmup: int = 10,
    repeats: int = 200,
    seconds: float = 5.0,
) -> tuple[Timing, ...]:
    """Time one run at a time, for each number of threads: one image, or the static batch of a graph that has one.

    Latency is that of one session with N threads. Throughput is that of N workers side by side, each with a
    single-thread session of its own: a board that serves a stream runs so, for nothing is lost on splitting operators.

    Args:
        make_session: opens the model with the given number of threads.
        threads: the numbers N to try.
        warmup: untimed inferences of each session, which fill caches and let the engine plan its memory.
        repeats: timed inferences of each session, at most; 200 put two beyond the 99th percentile.
        seconds: time after which warm-up, latency and throughput each stop early, so that one N takes at most about
            three times this (at least one inference is always made).

    Raises:
        InputError: if an argument is too small to measure anything.
    """
    if not threads or min(threads) < 1:
        raise InputError(f"threads={tuple(threads)}: give at least one number, each at least 1")
    if warmup < 0 or repeats < 1 or seconds <= 0:
        raise InputError(
            f"warmup={warmup}, repeats={repeats}, seconds={seconds}: must be at least 0, at least 1 and above 0"
        )
    limits = _Limits(warmup=warmup, repeats=repeats, seconds=seconds)
    with _no_garbage_collection():
        return tuple(_time(make_session, count, limits) for count in threads)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Limits:
    warmup: int
    repeats: int
    seconds: float


def _time(make_session: Callable[[int], Session], threads: int, limits: _Limits) -> Timing:
    session = make_session(threads)
    image = _one_batch(session)
    _warm_up(session, image, limits)
    runs_ms = np.asarray(_run(session, image, limits)) / _NS_PER_MS
    p50, p90, p95, p99 = (float(value) for value in np.percentile(runs_ms, (50, 90, 95, 99)))
    return Timing(
        threads=threads,
        batch_size=session.batch_size,
        p50_ms=p50,
        p90_ms=p90,
        p95_ms=p95,
        p99_ms=p99,
        mean_ms=float(runs_ms.mean()),
        min_ms=float(runs_ms.min()),
        repeats=len(runs_ms),
        images_per_second=_throughput([make_session(1) for _ in range(threads)], image, limits),
    )


def _throughput(sessions: Sequence[Session], image: Images, limits: _Limits) -> float:
    for session in sessions:
        _warm_up(session, image, limits)
    with ThreadPoolExecutor(len(sessions)) as pool:
        start = perf_counter_ns()
        runs = list(pool.map(lambda session: len(_run(session, image, limits)), sessions))
        return len(image) * sum(runs) / (perf_counter_ns() - start) * _NS_PER_S


def _warm_up(session: Session, image: Images, limits: _Limits) -> None:
    if limits.warmup:
        _run(session, image, _Limits(warmup=0, repeats=limits.warmup, seconds=limits.seconds))


def _run(session: Session, image: Images, limits: _Limits) -> list[int]:
    """Return the nanoseconds of each inference."""
    durations: list[int] = []
    end = perf_counter_ns() + limits.seconds * _NS_PER_S
    for _ in itertools.repeat(None, limits.repeats):
        start = perf_counter_ns()
        session(image)
        stop = perf_counter_ns()
        durations.append(stop - start)
        if stop >= end:
            break
    return durations


def _one_batch(session: Session) -> Images:
    # The values do not matter but for denormal numbers, which are slow and which normal ones do not lead to.
    shape = (session.batch_size, 3, *session.spec.preprocessing.size)
    return np.random.default_rng(0).standard_normal(shape, np.float32)


@contextmanager
def _no_garbage_collection() -> Generator[None]:
    """Keep the collector from running inside a timed inference."""
    enabled = gc.isenabled()
    gc.collect()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
