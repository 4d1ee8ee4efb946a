"""Speed on boards, as their own tools measured it, from the records of `parckit bench --board_log`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import cast

from parckit.contract import from_plain
from parckit.measure.board_log import BoardTiming
from parckit.measure.records import Record
from parckit.report.page import Table
from parckit.report.recorded import decode_records, recorded_digest

COLUMNS = ("Threads", "Mean, ms", "Shortest, ms", "Longest, ms", "Images/s", "Images")
"""Columns of a table of `board_rows`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class BoardSpeed:
    """How fast a network is on a board.

    Attributes:
        model: name of the bundle's folder.
        board: the board.
        timings: one for each number of threads.
        date: when the logs were read, UTC, ISO 8601.
        record: name of the record.
        artefact: the bundle's artefact that `sha256` is about; empty if the record does not tell.
        sha256: digest of the artefact that the board's compiler got; None if the record does not tell.
    """

    model: str
    board: str
    timings: tuple[BoardTiming, ...]
    date: str
    record: str
    artefact: str
    sha256: str | None


def board_speeds_of(records: Sequence[Record]) -> tuple[BoardSpeed, ...]:
    """Return what the records say; one that cannot be read is left out, with a warning."""
    return tuple(decode_records([record for record in records if record.name == "board"], _read))


def board_rows(timings: Sequence[BoardTiming]) -> list[tuple[str, ...]]:
    """Return the rows of a table with the columns `COLUMNS`."""
    return [
        (
            str(timing.threads),
            f"{timing.mean_ms:.3f}",
            *("-" if value is None else f"{value:.3f}" for value in (timing.min_ms, timing.max_ms)),
            f"{timing.images_per_second:.1f}",
            str(timing.frames),
        )
        for timing in timings
    ]


def board_table(speeds: Sequence[BoardSpeed]) -> Table:
    """Return the table of all boards."""
    rows = [(speed.model, speed.board, *row) for speed in speeds for row in board_rows(speed.timings)]
    return Table(
        title="Latency and throughput on a board",
        columns=("Network", "Board", *COLUMNS),
        rows=tuple(rows),
        caption=(
            "The board's own tool measured the network without preprocessing and decoding. With several threads, a "
            "picture waits for those of the other threads, so that its time grows and the throughput rises."
        ),
    )


def _read(record: Record) -> BoardSpeed:
    timings = cast("Sequence[object]", record.values["board_timings"])
    return BoardSpeed(
        model=PurePath(str(record.values["model"])).name,
        board=str(record.values["board"]),
        timings=tuple(from_plain(BoardTiming, timing, name="board_timings") for timing in timings),
        date=record.date,
        record=record.path.name,
        artefact=str(record.values.get("artefact", "")),
        sha256=recorded_digest(record.values),
    )
