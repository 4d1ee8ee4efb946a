"""Speed as a page shows it, from the records of `parckit bench` and `parckit quickstart`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import cast

from parckit.contract import InputError, from_plain
from parckit.measure.conditions import Conditions
from parckit.measure.memory import Loading
from parckit.measure.records import Record
from parckit.measure.stages import Stages
from parckit.measure.timings import StreamTiming, Timing
from parckit.report.recorded import decode_records, label_of, recorded_digest


@dataclass(frozen=True, kw_only=True, slots=True)
class Speed:
    """How fast a network is. What a record does not tell is None or empty.

    Attributes:
        model: name of the checkpoint's file or the bundle's folder; may be empty.
        artefact: name of the bundle's artefact; may be empty.
        engine: name and version.
        timings: one for each number of threads.
        streams: one for each number of streams.
        stages: where the time of an answer goes.
        loading: what loading costs.
        file_bytes: size of all files.
        record: name of the record; candidates of one record were measured in turns.
        conditions: what else the machine did.
        machine: where it was measured.
        date: when, UTC, ISO 8601.
        sha256: digest of the files that were measured.
    """

    model: str
    artefact: str
    engine: str
    timings: tuple[Timing, ...]
    streams: tuple[StreamTiming, ...] = ()
    stages: Stages | None = None
    loading: Loading | None = None
    file_bytes: int | None = None
    record: str = ""
    conditions: Conditions | None = None
    machine: str
    date: str
    sha256: str | None = None

    @property
    def label(self) -> str:
        """Name for tables."""
        return label_of(self.model, self.artefact)

    @property
    def engine_name(self) -> str:
        """Name of the engine without its version."""
        return self.engine.split()[0]

    @property
    def title(self) -> str:
        """Name for pictures, in two lines: the network and the engine."""
        return "\n".join(filter(None, (self.label, self.engine_name)))

    @property
    def command(self) -> tuple[str, ...]:
        """Verb and options that measure it again, without the network."""
        streams = sorted({timing.streams for timing in self.streams} - {timing.threads for timing in self.timings})
        return (
            "bench",
            *("--threads", ",".join(str(timing.threads) for timing in self.timings)),
            *(("--streams", ",".join(map(str, streams))) if streams else ()),
        )


def speeds_of(records: Sequence[Record]) -> tuple[Speed, ...]:
    """Return what the records of `parckit bench` say; one that cannot be read is left out, with a warning."""
    decoded = decode_records([record for record in records if record.name == "bench"], _read_bench)
    return tuple(speed for speeds in decoded for speed in speeds)


def _read_bench(record: Record) -> list[Speed]:
    # The record of one candidate is flat, the record of several has a list of them.
    listed = cast("Sequence[Mapping[str, object]]", record.values.get("candidates", [record.values]))
    return [_speed(record, entry) for entry in listed]


def _speed(record: Record, entry: Mapping[str, object]) -> Speed:
    timings = cast("Sequence[object]", entry["timings"])
    if not timings:
        raise InputError("timings: empty")
    size, conditions = entry.get("file_bytes"), record.values.get("conditions")
    return Speed(
        model=PurePath(str(entry["model"])).name,
        artefact=str(entry["artefact"]),
        engine=str(entry["engine"]),
        timings=tuple(from_plain(Timing, timing, name="timings") for timing in timings),
        streams=tuple(
            from_plain(StreamTiming, stream, name="streams")
            for stream in cast("Sequence[object]", entry.get("streams", ()))
        ),
        stages=from_plain(Stages, entry["stages"], name="stages") if "stages" in entry else None,
        loading=from_plain(Loading, entry["loading"], name="loading") if "loading" in entry else None,
        file_bytes=None if size is None else int(cast("int", size)),
        record=record.path.name,
        conditions=None if conditions is None else from_plain(Conditions, conditions, name="conditions"),
        machine=record.machine,
        date=record.date,
        sha256=recorded_digest(entry),
    )
