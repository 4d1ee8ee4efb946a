"""The tables about speed: latency, streams, and what an answer and loading cost."""

from collections import defaultdict
from collections.abc import Iterable, Sequence

from parckit.measure.interleaved import Interval
from parckit.measure.ranking import rank
from parckit.report.page import Table
from parckit.report.recorded import Accuracy
from parckit.report.recorded_profile import Profiled
from parckit.report.recorded_speed import Speed

_MEGA = 1e6
_MS_PER_S = 1e3


def speed_tables(speeds: Sequence[Speed]) -> tuple[Table, ...]:
    """Return the tables about speed."""
    return (_latency(speeds), _streams(speeds), _costs(speeds))


def measured_on(entries: Iterable[Accuracy | Speed | Profiled]) -> str:
    """Return a sentence that says where and when the numbers were measured."""
    places = dict.fromkeys(f"on {entry.machine}, {entry.date[:10]}" for entry in entries)
    return f"Measured {'; '.join(places)}." if places else ""


def _latency(speeds: Sequence[Speed]) -> Table:
    places = _places(speeds)
    batches = sorted({timing.batch_size for speed in speeds for timing in speed.timings})
    has_batches = bool(batches) and batches != [1]
    rows = [
        (
            speed.label or speed.engine,
            speed.engine,
            str(timing.threads),
            places.get((speed, timing.threads), ""),
            _number(timing.p50_ms),
            _range(timing.interval if timing.round_ms else None),
            *("-" if value is None else _number(value) for value in timing.tails),
            *((str(timing.batch_size), _number(timing.image_p50_ms)) if has_batches else ()),
            "-" if timing.images_per_second is None else f"{timing.images_per_second:.0f}",
        )
        for speed in speeds
        for timing in speed.timings
    ]
    times = ("p50, ms", "95 % interval, ms", "p90, ms", "p95, ms", "p99, ms")
    times += ("Batch", "p50 for one image, ms") if has_batches else ()
    return Table(
        title="Latency and throughput",
        columns=("Network", "Engine", "Threads", "Place", *times, "Images/s"),
        rows=tuple(rows),
        caption=" ".join(
            (
                _explain_latency(batches if has_batches else (), is_ranked=bool(places)),
                *_meanwhile(speeds),
                measured_on(speeds),
            )
        ),
    )


def _explain_latency(batches: Sequence[int], *, is_ranked: bool) -> str:
    """Return what the numbers of the table mean.

    Args:
        batches: images of a run, all that occur; empty if every run has one image.
        is_ranked: whether there are places.
    """
    images = f"a batch ({', '.join(map(str, batches))} images)" if batches else "one image"
    text = (
        f"Latency is the time for {images}: p50 is the median, and only one run in a hundred is slower than p99. A "
        "dash stands where the runs were too few for a percentile. The true median lies in the interval with a "
        "probability of 95 %. For N threads, the images per second are those of N parallel workers with one thread "
        "each."
    )
    if is_ranked:
        text += (
            " Candidates that were measured in turns have places for each number of threads. If their intervals "
            "overlap, they share places, because the measurement does not tell which one is faster."
        )
        text += " Places are by the time for one image." if batches else ""
    return text


def _places(speeds: Sequence[Speed]) -> dict[tuple[Speed, int], str]:
    """Return the places of the candidates that were measured together, by candidate and number of threads."""
    groups: dict[tuple[str, int], list[tuple[Speed, Interval]]] = defaultdict(list)
    for speed in speeds:
        for timing in speed.timings:
            if timing.round_ms:
                groups[speed.record, timing.threads].append((speed, timing.image_interval))
    places: dict[tuple[Speed, int], str] = {}
    for (_, threads), group in groups.items():
        ranked = rank({str(number): interval for number, (_, interval) in enumerate(group)})
        if len(group) > 1:
            places |= {(group[int(place.name)][0], threads): str(place) for place in ranked}
    return places


def _meanwhile(speeds: Sequence[Speed]) -> list[str]:
    """Return sentences about the machine: governor, load and neighbours."""
    records = {speed.record: speed.conditions for speed in speeds if speed.conditions is not None}
    busy = " The machine was busy, so the intervals are wide."
    return [
        f"Meanwhile: {conditions.describe()}.{busy if conditions.is_busy else ''}" for conditions in records.values()
    ]


def _streams(speeds: Sequence[Speed]) -> Table:
    rows = [
        (
            speed.label or speed.engine,
            speed.engine,
            str(timing.streams),
            f"{timing.images_per_second:.1f}",
            f"{timing.low:.1f} to {timing.high:.1f}",
            *("-" if value is None else _number(value) for value in (timing.p50_ms, *timing.tails)),
        )
        for speed in speeds
        for timing in speed.streams
    ]
    frames = tuple(f"Frame p{share}, ms" for share in (50, 90, 99))
    return Table(
        title="Several streams at the same time",
        columns=("Network", "Engine", "Streams", "Images/s", "95 % interval", *frames),
        rows=tuple(rows),
        caption=(
            "Every stream has a session of its own with one thread, as on a board with several cameras. A frame waits "
            "for the frames of the other streams, so its latency grows as soon as there are more streams than cores. A "
            "dash stands where the runs were too few for a percentile."
        ),
    )


def _costs(speeds: Sequence[Speed]) -> Table:
    rows = [
        (
            speed.label or speed.engine,
            speed.engine,
            *_stages(speed),
            *_loading(speed),
            "" if speed.file_bytes is None else f"{speed.file_bytes / _MEGA:.2f}",
        )
        for speed in speeds
        if speed.stages is not None or speed.loading is not None or speed.file_bytes is not None
    ]
    stages = ("Preprocessing, ms", "Network, ms", "Decoding, ms")
    return Table(
        title="An answer, and what loading costs",
        columns=("Network", "Engine", *stages, "Load, ms", "First run, ms", "Memory, MB", "Files, MB"),
        rows=tuple(rows),
        caption=(
            "The parts of an answer with one thread, from a picture in memory to the answer. Memory is what loading "
            "and one run add at most to a new process; the engine's library is loaded before. A dash stands where the "
            "system does not tell it."
        ),
    )


def _stages(speed: Speed) -> tuple[str, str, str]:
    if speed.stages is None:
        return "", "", ""
    stages = speed.stages
    return _number(stages.preprocessing_ms), _number(stages.network_ms), _number(stages.decoding_ms)


def _loading(speed: Speed) -> tuple[str, str, str]:
    if speed.loading is None:
        return "", "", ""
    loading = speed.loading
    milliseconds = (loading.load_seconds * _MS_PER_S, loading.first_seconds * _MS_PER_S)
    peak = "-" if loading.peak_bytes is None else f"{loading.peak_bytes / _MEGA:.1f}"
    return f"{milliseconds[0]:.0f}", f"{milliseconds[1]:.1f}", peak


def _range(interval: Interval | None) -> str:
    return "" if interval is None else f"{_number(interval.low)} to {_number(interval.high)}"


def _number(value: float) -> str:
    """Return a number with two decimals, or with three below 0.1, where two would hide what differs."""
    return f"{value:.2f}" if value >= 0.1 else f"{value:.3f}"
