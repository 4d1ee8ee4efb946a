"""How fast a session answers, measured as boards are measured."""

import gc
import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from parckit.contract import InputError, Precision
from parckit.runtimes import Images, Session, open_session

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
        repeats: runs that the latency was taken from; the 99th percentile needs some hundred.
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
    path: Path | str,
    *,
    threads: Sequence[int] = (1,),
    runtime: str | None = None,
    precision: Precision | None = None,
    artefact: str | None = None,
    warmup: float = 0.5,
    seconds: float = 3.0,
) -> tuple[Timing, ...]:
    """Measure latency and throughput of a checkpoint or bundle on this machine.

    Args:
        path: a bundle's folder, a checkpoint, or the name of weights that ship with parckit.
        threads: the numbers of threads to try.
        runtime: the engine; by default the first one that fits.
        precision: choose among a bundle's artefacts by their precision.
        artefact: choose a bundle's artefact by its name.
        warmup: how long each session runs untimed, seconds.
        seconds: how long latency is measured, and then throughput.

    Raises:
        InputError: if nothing fits, or an argument is too small to measure anything.
    """
    open_with = partial(open_session, path, runtime=runtime, precision=precision, artefact=artefact)
    return time_sessions(lambda count: open_with(threads=count), threads=threads, warmup=warmup, seconds=seconds)


def time_sessions(
    make_session: Callable[[int], Session],
    *,
    threads: Sequence[int],
    warmup: float = 0.5,
    seconds: float = 3.0,
) -> tuple[Timing, ...]:
    """Time one run at a time, for each number of threads: one image, or the static batch of a graph that has one.

    Latency is that of one session with N threads. Throughput is that of N workers side by side, each with a
    single-thread session of its own: a board that serves a stream runs so, for nothing is lost on splitting operators.

    Args:
        make_session: opens the model with the given number of threads.
        threads: the numbers N to try.
        warmup: how long each session runs untimed, seconds: caches fill, clocks rise, the engine plans its memory.
        seconds: how long latency is measured, and then throughput; a run that has begun is finished.

    Raises:
        InputError: if an argument is too small to measure anything.
    """
    if not threads or min(threads) < 1:
        raise InputError(f"threads={tuple(threads)}: give at least one number, each at least 1")
    if not (0 <= warmup < math.inf and 0 < seconds < math.inf):
        raise InputError(f"warmup={warmup}, seconds={seconds}: must be at least 0 and above 0")
    with _no_garbage_collection():
        return tuple(_time(make_session, count, warmup=warmup, seconds=seconds) for count in threads)


def _time(make_session: Callable[[int], Session], threads: int, *, warmup: float, seconds: float) -> Timing:
    session = make_session(threads)
    image = _one_batch(session)
    _run(session, image, seconds=warmup)
    runs_ms = np.asarray(_run(session, image, seconds=seconds)) / _NS_PER_MS
    workers = [make_session(1) for _ in range(threads)]
    for worker in workers:
        _run(worker, image, seconds=warmup)
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
        images_per_second=_throughput(workers, image, seconds=seconds),
    )


def _throughput(sessions: Sequence[Session], image: Images, *, seconds: float) -> float:
    """Add up the workers' own rates, for cores may be of different speeds."""

    def rate(session: Session) -> float:
        start = perf_counter_ns()
        runs = len(_run(session, image, seconds=seconds))
        return runs / (perf_counter_ns() - start) * _NS_PER_S

    with ThreadPoolExecutor(len(sessions)) as pool:
        return len(image) * sum(pool.map(rate, sessions))


def _run(session: Session, image: Images, *, seconds: float) -> list[int]:
    """Run for so long, not at all for 0, and return the nanoseconds of each run."""
    durations: list[int] = []
    now = perf_counter_ns()
    end = now + seconds * _NS_PER_S
    while now < end:
        start = perf_counter_ns()
        session(image)
        now = perf_counter_ns()
        durations.append(now - start)
    return durations


def _one_batch(session: Session) -> Images:
    # The values do not matter but for denormal numbers, which are slow and which normal ones do not lead to.
    sizes = dict(zip("NCHW", (session.batch_size, 3, *session.spec.preprocessing.size), strict=True))
    shape = tuple(sizes[axis] for axis in session.input.layout)
    if session.input.normalised_inside:
        return np.random.default_rng(0).integers(0, 256, shape).astype(session.input.dtype)
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
