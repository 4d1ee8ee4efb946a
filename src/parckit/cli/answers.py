"""Shows the answers for pictures and frames: as a table, or in a form for programs."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import Literal, NamedTuple, cast

from parckit.cli.coco_answers import CocoNumbers
from parckit.cli.tables import show, to_json
from parckit.contract import printable
from parckit.processing import BoxPrediction, Prediction

Format = Literal["table", "json", "jsonl", "csv", "coco"]

_MOST_ROWS = 1000
"""A longer table is shown in parts, so that the rows of a long video are not all in memory."""
_SIDES = ("left", "top", "right", "bottom")


class Outcome(NamedTuple):
    """A picture or a frame of a video, and its answer.

    Attributes:
        path: the file.
        answer: the answer, or the reason why there is none.
        size: (width, height) of the picture, pixels.
        frame: number of the frame, from 0; None for pictures.
        seconds: time of the frame; None for pictures.
    """

    path: Path
    answer: Prediction | str
    size: tuple[int, int] = (0, 0)
    frame: int | None = None
    seconds: float | None = None

    @property
    def place(self) -> dict[str, object]:
        """The frame and its time by name; empty for pictures."""
        return {} if self.frame is None else {"frame": self.frame, "seconds": round(self.seconds or 0.0, 3)}


def show_answers(
    outcomes: Iterable[Outcome], *, form: Format, title: str, has_videos: bool, numbers: CocoNumbers | None
) -> None:
    """Print the answers. All forms but the table print every answer as soon as it is there.

    Args:
        outcomes: pictures and frames with their answers. Those of a video follow one another.
        form: `table` for people; `json`, an object with the answer for each picture, and for each video a list with one
            for each frame; `jsonl`, a line for each picture or frame, also for files without an answer; `csv`, a line
            for each class or box; `coco`, a list of boxes as pycocotools' `loadRes` reads it.
        title: of the table.
        has_videos: whether frames of videos may be among the outcomes.
        numbers: those of images and categories, for `coco`.
    """
    if form == "jsonl":
        _print_json_lines(outcomes)
    elif form == "csv":
        _print_csv(outcomes, has_videos=has_videos)
    elif form == "json":
        _print_json(outcomes)
    elif numbers is not None:
        _print_coco(outcomes, numbers)
    else:
        _show_table(outcomes, title=title, has_videos=has_videos)


def _answered(outcomes: Iterable[Outcome]) -> Iterator[tuple[Outcome, Prediction]]:
    for outcome in outcomes:
        if not isinstance(outcome.answer, str):
            yield outcome, outcome.answer


def _show_table(outcomes: Iterable[Outcome], *, title: str, has_videos: bool) -> None:
    columns: tuple[str, ...] = ()
    rows: list[tuple[str, ...]] = []
    for outcome, answer in _answered(outcomes):
        columns = ("picture", *(("frame", "seconds") if has_videos else ()), *answer.columns)
        if len(rows) >= _MOST_ROWS:
            show(title, columns, rows)
            rows = []
        rows += _rows(outcome, answer, has_videos=has_videos)
    if columns:
        show(title, columns, rows)


def _rows(outcome: Outcome, answer: Prediction, *, has_videos: bool) -> list[tuple[str, ...]]:
    """Return a table's rows for a picture or frame; only the first one names it. Frames without objects have none."""
    entries = answer.rows()
    if not entries and outcome.frame is None:
        entries = [("-",) * len(answer.columns)]
    frame, seconds = ("", "") if outcome.frame is None else (str(outcome.frame), f"{outcome.seconds:.2f}")
    first = (str(outcome.path), *((frame, seconds) if has_videos else ()))
    return [(*(first if number == 0 else ("",) * len(first)), *cells) for number, cells in enumerate(entries)]


def _print_json(outcomes: Iterable[Outcome]) -> None:
    """Print one object, and every answer as soon as it is there."""
    print("{", end="")
    before_file = "\n"
    for path, of_file in groupby(_answered(outcomes), key=lambda pair: pair[0].path):
        print(f"{before_file}{to_json(str(path))}: ", end="")
        before_file, is_video = ",\n", False
        for outcome, answer in of_file:
            if outcome.frame is None:
                print(to_json(answer.to_plain(), indent=2), end="", flush=True)
                continue
            before_frame, is_video = ",\n" if is_video else "[\n", True
            print(before_frame + to_json({**outcome.place, "answer": answer.to_plain()}), end="", flush=True)
        print("\n]" if is_video else "", end="")
    print("\n}")


def _print_json_lines(outcomes: Iterable[Outcome]) -> None:
    for outcome in outcomes:
        answer = outcome.answer
        said = {"error": answer} if isinstance(answer, str) else {"answer": answer.to_plain()}
        print(to_json({"picture": str(outcome.path), **outcome.place, **said}), flush=True)


def _print_coco(outcomes: Iterable[Outcome], numbers: CocoNumbers) -> None:
    print("[", end="")
    separator = "\n"
    for outcome, answer in _answered(outcomes):
        image = numbers.image(outcome.path, outcome.size, outcome.place)
        for entry in () if image is None else numbers.results(cast("BoxPrediction", answer), image=image):
            print(separator + to_json(entry), end="", flush=True)
            separator = ",\n"
    print("\n]")
    numbers.write()


def _print_csv(outcomes: Iterable[Outcome], *, has_videos: bool) -> None:
    is_first = True
    for outcome, answer in _answered(outcomes):
        place = {"frame": None, "seconds": None, **outcome.place} if has_videos else {}
        entries = cast("list[dict[str, object]]", answer.to_plain())
        lines = [{"picture": str(outcome.path), **place, **_flat(entry)} for entry in entries]
        # Only detectors may find nothing. The file has a header all the same.
        names = [*lines[0]] if lines else ["picture", *place, *_box_columns(cast("BoxPrediction", answer))]
        _write_rows([*([names] if is_first else []), *([*map(_cell, line.values())] for line in lines)])
        is_first = False


def _box_columns(answer: BoxPrediction) -> list[str]:
    return ["class", "score", *_SIDES, *([] if answer.masks is None else ["mask"])]


def _flat(entry: Mapping[str, object]) -> dict[str, object]:
    """Return an entry with one value for each side of its box."""
    flat: dict[str, object] = {}
    for name, value in entry.items():
        flat.update(zip(_SIDES, cast("Sequence[float]", value), strict=True) if name == "box" else {name: value})
    return flat


def _write_rows(rows: Iterable[Sequence[str]]) -> None:
    """Write rows without delay. A terminal gets printable names. A file or a pipe gets the true names, in UTF-8.

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
