"""Shows the answers for pictures: as a table, or in a form for programs."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Literal, cast

from parckit.cli.tables import show, to_json
from parckit.contract import printable
from parckit.processing import Prediction

Format = Literal["table", "json", "jsonl", "csv"]

STREAMED = ("jsonl", "csv")
"""Formats that show every answer at once. The others wait for the last one."""

Outcome = tuple[Path, Prediction | str]
"""A picture, and its answer or the reason why it has none."""


def show_answers(outcomes: Iterable[Outcome], *, form: Format, title: str) -> None:
    """Print the answers.

    Args:
        outcomes: pictures with their answers.
        form: `table` for people; `json`, an object with a list for each picture; `jsonl`, a line for each picture, also
            for those without an answer; `csv`, a line for each class of an answer.
        title: of the table.
    """
    if form == "jsonl":
        _print_json_lines(outcomes)
    elif form == "csv":
        _print_csv(outcomes)
    elif form == "json":
        print(to_json({str(path): answer.to_plain() for path, answer in _answered(outcomes)}, indent=2))
    elif answers := list(_answered(outcomes)):
        rows = [row for path, answer in answers for row in _rows(path, answer)]
        show(title, ("picture", *answers[0][1].columns), rows)


def _answered(outcomes: Iterable[Outcome]) -> Iterator[tuple[Path, Prediction]]:
    for path, outcome in outcomes:
        if not isinstance(outcome, str):
            yield path, outcome


def _rows(path: Path, answer: Prediction) -> list[tuple[str, ...]]:
    """Return a table's rows for a picture; only the first one names it."""
    return [(str(path) if number == 0 else "", *cells) for number, cells in enumerate(answer.rows())]


def _print_json_lines(outcomes: Iterable[Outcome]) -> None:
    for path, outcome in outcomes:
        said = {"error": outcome} if isinstance(outcome, str) else {"answer": outcome.to_plain()}
        print(to_json({"picture": str(path), **said}), flush=True)


def _print_csv(outcomes: Iterable[Outcome]) -> None:
    is_first = True
    for path, answer in _answered(outcomes):
        for entry in cast("list[dict[str, object]]", answer.to_plain()):
            rows = [["picture", *entry]] if is_first else []
            is_first = False
            _write_rows([*rows, [str(path), *map(_cell, entry.values())]])


def _write_rows(rows: Iterable[Sequence[str]]) -> None:
    """Write rows at once. A terminal gets printable names. A file or a pipe gets the true names, in UTF-8.

    A name of a file that is not UTF-8 is written as the bytes that it has.
    """
    text, is_terminal = io.StringIO(), sys.stdout.isatty()
    csv.writer(text, lineterminator="\n").writerows(map(printable, row) if is_terminal else row for row in rows)
    sys.stdout.flush()
    if is_terminal or not isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.write(text.getvalue())
    else:
        sys.stdout.buffer.write(text.getvalue().encode(errors="surrogateescape"))
    sys.stdout.flush()


def _cell(value: object) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value)
