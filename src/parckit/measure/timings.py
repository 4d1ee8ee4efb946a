"""The numbers that a measurement of speed gives, and what it measures."""

import math
from dataclasses import asdict, dataclass, field
from pathlib import Path

from parckit.contract import ADDED_LATER, InputError
from parckit.measure.interleaved import Interval, median_interval


@dataclass(frozen=True, kw_only=True, slots=True)
class Timing:
    """Latency and throughput with a certain number of threads.

    Attributes:
        threads: for latency, the threads of one inference; for throughput, the number of streams, each with one thread.
        batch_size: images per run.
        p50_ms: median latency of one run of `batch_size` images, milliseconds: the middle one of the rounds' medians.
            The 90th, 95th and 99th percentile of all runs are `p90_ms`, `p95_ms` and `p99_ms`; every round counts as
            much as the others, however many runs it has. The mean and the minimum are `mean_ms` and `min_ms`.
        repeats: number of timed runs. The 99th percentile needs a hundred at least.
        images_per_second: throughput of as many streams together; None if it was not measured.
        round_ms: the median latency of every round. Entry i of all candidates comes from the same round.
            Older records have none.
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
    images_per_second: float | None
    round_ms: tuple[float, ...] = field(default=(), metadata=ADDED_LATER)

    @property
    def tails(self) -> tuple[float | None, float | None, float | None]:
        """The 90th, 95th and 99th percentile, milliseconds; None where the runs are too few.

        The slowest run in a hundred is a guess if there are fewer than a hundred runs, and so on.
        """
        p90, p95, p99 = (
            _known(value, share=share, repeats=self.repeats)
            for share, value in ((90, self.p90_ms), (95, self.p95_ms), (99, self.p99_ms))
        )
        return p90, p95, p99

    @property
    def image_p50_ms(self) -> float:
        """The median time for one image, milliseconds: that of a run, divided by the images of a batch."""
        return self.p50_ms / self.batch_size

    @property
    def interval(self) -> Interval:
        """The interval of the median latency, milliseconds; only if there are rounds."""
        return median_interval(self.round_ms)

    @property
    def image_ms(self) -> tuple[float, ...]:
        """The median time for one image in every round: that of a run, divided by the images of a batch."""
        return tuple(duration / self.batch_size for duration in self.round_ms)

    @property
    def image_interval(self) -> Interval:
        """The interval of the median time for one image, milliseconds. Batches of any size can be compared by it."""
        return median_interval(self.image_ms)


@dataclass(frozen=True, kw_only=True, slots=True)
class StreamTiming:
    """What several streams reach at the same time. Every stream has a session of its own, which uses one thread.

    Attributes:
        streams: number of streams.
        images_per_second: throughput of all streams together, median over the rounds.
        low: lower end of the interval of the throughput.
        high: upper end of the interval of the throughput.
        p50_ms: median latency of one run in a stream, milliseconds, while the others run too. The 90th and the 99th
            percentile are `p90_ms` and `p99_ms`. Every round counts as much as the others.
        repeats: number of timed runs in all streams.
    """

    streams: int
    images_per_second: float
    low: float
    high: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    repeats: int

    @property
    def tails(self) -> tuple[float | None, float | None]:
        """The 90th and the 99th percentile, milliseconds; None where the runs are too few, as in `Timing.tails`."""
        p90, p99 = (
            _known(value, share=share, repeats=self.repeats) for share, value in ((90, self.p90_ms), (99, self.p99_ms))
        )
        return p90, p99


def _known(value: float, *, share: int, repeats: int) -> float | None:
    """Return a percentile; None if there are too few runs to have one beyond it."""
    return value if repeats * (100 - share) >= 100 else None


@dataclass(frozen=True, kw_only=True, slots=True)
class Benchmark:
    """All timings of a candidate.

    Attributes:
        timings: one for every number of threads.
        streams: one for every number of streams.
        engine: name and version of the engine.
        artefact: name of the artefact or checkpoint.
        sha256: digest of its files; None if the candidates are no files.
    """

    timings: tuple[Timing, ...]
    streams: tuple[StreamTiming, ...]
    engine: str
    artefact: str
    sha256: str | None = None


@dataclass(frozen=True, kw_only=True, slots=True)
class Schedule:
    """What is measured and how long.

    Attributes:
        threads: numbers of threads of one inference.
        streams: numbers of streams. Without any, throughput is not measured.
        warmup: how long every session runs before it is timed, seconds. In this time caches fill, the clock frequency
            rises, and the engine plans its memory.
        seconds: how long every candidate is measured, for each number of threads and for each number of streams. There
            are at least `LEAST_ROUNDS` rounds, even if they take longer.
        seed: of the order of the candidates in every round.

    Raises:
        InputError: if a number is too small.
    """

    threads: tuple[int, ...] = (1,)
    streams: tuple[int, ...] = ()
    warmup: float = 0.5
    seconds: float = 3.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not self.threads or min(self.threads) < 1:
            raise InputError(f"threads={self.threads}: must be one or more numbers, all at least 1")
        if self.streams and min(self.streams) < 1:
            raise InputError(f"streams={self.streams}: must be numbers of at least 1")
        if not (0 <= self.warmup < math.inf and 0 < self.seconds < math.inf):
            text = f"warmup={self.warmup}, seconds={self.seconds}"
            raise InputError(f"{text}: warmup must be at least 0, seconds above 0")


def bench_values(result: Benchmark, *, model: Path) -> dict[str, object]:
    """Return what a record says of a benchmark; `parckit report` reads it.

    Args:
        result: the benchmark.
        model: the checkpoint or bundle.
    """
    return {"model": str(model), **asdict(result)}
