"""Latency and throughput of a session, measured as on boards: one image or one static batch at a time."""

import gc
import math
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np

from parckit.contract import InputError, Precision
from parckit.runtimes import Images, Session, open_session

_NS_PER_MS = 1e6
_NS_PER_S = 1e9


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Latency and throughput with a certain number of threads.

    Attributes:
        threads: for latency, the threads of one inference; for throughput, the number of parallel workers with one
            thread.
        batch_size: images per run.
        p50_ms: median latency of one run of `batch_size` images, milliseconds. The 90th, 95th and 99th percentile, the
            mean and the minimum are `p90_ms`, `p95_ms`, `p99_ms`, `mean_ms` and `min_ms`.
        repeats: number of timed runs. The 99th percentile needs some hundred.
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


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """The timings of a model, and the engine and artefact that they were measured with.

    Attributes:
        timings: one for every number of threads.
        engine: name and version of the engine.
        artefact: name of the artefact or checkpoint.
    """

    timings: tuple[Timing, ...]
    engine: str
    artefact: str


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
    opened: list[Session] = []

    def open_another(count: int) -> Session:
        # All sessions run the first one's artefact. To name it avoids the warning that several fit, for every session.
        name = opened[0].artefact if opened and Path(path).is_dir() else artefact
        session = open_session(path, runtime=runtime, precision=precision, artefact=name, threads=count)
        opened[:] = [session]
        return session

    timings = time_sessions(open_another, threads=threads, warmup=warmup, seconds=seconds)
    return Benchmark(timings=timings, engine=opened[0].engine, artefact=opened[0].artefact)


def time_sessions(
    make_session: Callable[[int], Session],
    *,
    threads: Sequence[int],
    warmup: float = 0.5,
    seconds: float = 3.0,
) -> tuple[Timing, ...]:
    """Measure latency and throughput for every number of threads N.

    A run takes one image, or the static batch of the graph. Latency is measured with one session that uses N threads.
    Throughput is measured with N parallel workers; every worker has a session with one thread. Boards that serve a
    stream of images work like this, because splitting operators among threads costs time.

    Args:
        make_session: opens the model with a number of threads.
        threads: the numbers N, one after the other.
        warmup: how long every session runs before it is timed, seconds. In this time caches fill, the clock frequency
            rises, and the engine plans its memory.
        seconds: how long latency is measured, and how long throughput is measured after that. The last run is finished.

    Raises:
        InputError: if a number is too small.
    """
    if not threads or min(threads) < 1:
        raise InputError(f"threads={tuple(threads)}: must be one or more numbers, all at least 1")
    if not (0 <= warmup < math.inf and 0 < seconds < math.inf):
        raise InputError(f"warmup={warmup}, seconds={seconds}: warmup must be at least 0, seconds above 0")
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
    """Return the sum of all workers' rates. Rates are measured per worker because cores may have different speeds."""

    def rate(session: Session) -> float:
        start = perf_counter_ns()
        runs = len(_run(session, image, seconds=seconds))
        return runs / (perf_counter_ns() - start) * _NS_PER_S

    with ThreadPoolExecutor(len(sessions)) as pool:
        return len(image) * sum(pool.map(rate, sessions))


def _run(session: Session, image: Images, *, seconds: float) -> list[int]:
    """Run again and again for `seconds`, never for 0, and return the duration of every run in nanoseconds."""
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
    # Values do not change the speed, except denormal numbers, which are slow. These random values do not lead to them.
    height, width = session.spec.preprocessing.size
    sizes = {"N": session.batch_size, "C": session.input.channels, "H": height, "W": width}
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
