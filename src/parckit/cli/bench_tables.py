"""What `parckit bench` prints."""

import logging
from collections.abc import Mapping

from parckit.cli.tables import format_number, show, tell
from parckit.measure.conditions import Conditions
from parckit.measure.environment import describe
from parckit.measure.ranking import not_separable, rank
from parckit.measure.speed import Measurement

_log = logging.getLogger(__name__)

_MEGA = 1e6
_MS_PER_S = 1e3


def show_measurement(measurement: Measurement, *, against: Mapping[str, str]) -> None:
    """Print all tables.

    Args:
        measurement: what was measured.
        against: name of a candidate -> the candidate that it is compared with.
    """
    # Names with their paths are long, so the tables have numbers.
    for name, number in _numbers(measurement).items():
        tell(f"candidate {number}: {name}, {measurement.candidates[name].benchmark.engine}")
    _show_latencies(measurement)
    if len(measurement.candidates) > 1:
        for threads in measurement.schedule.threads:
            _tell_order(measurement, threads)
    _show_ratios(measurement, against)
    _show_streams(measurement)
    _show_costs(measurement)
    tell_conditions(measurement.conditions)


def tell_conditions(conditions: Conditions) -> None:
    """Say what else the machine did, with a warning if it was busy."""
    tell(f"meanwhile: {conditions.describe()}")
    if conditions.is_busy:
        _log.warning("the machine was busy meanwhile, so the intervals are wide; repeat it when the machine is quiet")


def _numbers(measurement: Measurement) -> dict[str, str]:
    """Return name of the candidate -> its number in the tables."""
    return {name: str(number) for number, name in enumerate(measurement.candidates, start=1)}


def _show_latencies(measurement: Measurement) -> None:
    machine, numbers = describe(), _numbers(measurement)
    rows: list[tuple[str, ...]] = []
    for place, threads in enumerate(measurement.schedule.threads):
        for entry in rank(measurement.image_times(threads)):
            timing = measurement.candidates[entry.name].benchmark.timings[place]
            interval = timing.interval
            tails = ("-" if value is None else format_number(value) for value in timing.tails)
            likely = f"{format_number(interval.low)} to {format_number(interval.high)}"
            settings = (numbers[entry.name], str(threads), str(entry))
            counts = (str(timing.repeats), str(timing.batch_size), format_number(timing.image_interval.median))
            rows.append((*settings, format_number(interval.median), likely, *tails, *counts))
    timed = ("p50 ms", "95 %", "p90 ms", "p95 ms", "p99 ms")
    columns = ("no.", "threads", "place", *timed, "runs", "batch", "ms/image")
    hidden = {"place"} if len(measurement.candidates) == 1 else set[str]()
    if not measurement.has_batches:
        hidden |= {"batch", "ms/image"}
    shown = [index for index, column in enumerate(columns) if column not in hidden]
    placed = "; places are by the time for one image" if not hidden else ""
    show(
        f"latency of a run, {machine.cpu}, {machine.usable_cores} cores{placed}",
        [columns[index] for index in shown],
        [[row[index] for index in shown] for row in rows],
        unbroken=("95 %",),
    )


def _tell_order(measurement: Measurement, threads: int) -> None:
    """Say who is faster, or that the measurement cannot tell."""
    intervals, numbers = measurement.image_times(threads), _numbers(measurement)
    count = f"{threads} thread{'' if threads == 1 else 's'}{', one image' if measurement.has_batches else ''}"
    doubtful = not_separable(intervals)
    if doubtful:
        pairs = ", ".join(f"{numbers[first]} and {numbers[second]}" for first, second in doubtful)
        tell(f"{count}: not separable, because their intervals overlap: {pairs}")
    if not doubtful:
        tell(f"{count}: from the fastest to the slowest: {', '.join(numbers[place.name] for place in rank(intervals))}")


def _show_ratios(measurement: Measurement, against: Mapping[str, str]) -> None:
    rows: list[tuple[str, ...]] = []
    numbers = _numbers(measurement)
    for threads in measurement.schedule.threads:
        for name, other in against.items():
            ratio = measurement.ratio(name, baseline=other, threads=threads)
            verdict = "not separable"
            if ratio.is_clear:
                verdict = "faster" if ratio.speedup > 1 else "slower"
            interval = f"{ratio.low:.3f} to {ratio.high:.3f}"
            row = (numbers[name], str(threads), f"{ratio.speedup:.3f}", interval, verdict, numbers[other])
            rows.append(row)
    if rows:
        columns = ("no.", "threads", "times faster", "95 %", "verdict", "than no.")
        images = ", by the time for one image" if measurement.has_batches else ""
        show(f"against another one, compared within every round{images}", columns, rows, unbroken=("95 %",))


def _show_streams(measurement: Measurement) -> None:
    rows: list[tuple[str, ...]] = []
    for number, entry in enumerate(measurement.candidates.values(), start=1):
        for timing in entry.benchmark.streams:
            frames = ("-" if value is None else format_number(value) for value in (timing.p50_ms, *timing.tails))
            interval = f"{format_number(timing.low)} to {format_number(timing.high)}"
            rows.append((str(number), str(timing.streams), format_number(timing.images_per_second), interval, *frames))
    columns = ("no.", "streams", "images/s", "95 %", "frame p50 ms", "frame p90 ms", "frame p99 ms")
    show("streams at the same time, each with one thread", columns, rows, unbroken=("95 %",))


def _show_costs(measurement: Measurement) -> None:
    rows = [
        (
            str(number),
            format_number(entry.stages.preprocessing_ms),
            format_number(entry.stages.network_ms),
            format_number(entry.stages.decoding_ms),
            f"{entry.loading.load_seconds * _MS_PER_S:.0f}",
            f"{entry.loading.first_seconds * _MS_PER_S:.1f}",
            "-" if entry.loading.peak_bytes is None else f"{entry.loading.peak_bytes / _MEGA:.1f}",
            f"{entry.candidate.file_bytes / _MEGA:.2f}",
        )
        for number, entry in enumerate(measurement.candidates.values(), start=1)
    ]
    stages = ("preprocessing ms", "network ms", "decoding ms")
    columns = ("no.", *stages, "load ms", "first run ms", "memory MB", "files MB")
    answer = "the answers of a batch" if measurement.has_batches else "an answer"
    show(f"{answer} with one thread, and what loading costs (measured once)", columns, rows)
