"""Class tables: files that say which number or colour in a mask means which class.

- `classes.txt` (or `labels.txt`): a name in a line, in the order of the numbers; or `NUMBER NAME`, or
  `NUMBER NAME R,G,B`, or `NAME R G B`, with tabs, commas or spaces between them.
- `class_dict.csv` (or `classes.csv`): `name,r,g,b`, with or without a line of headings, as CamVid has it.
- `label_colors.txt`: `R G B NAME`, as CamVid has it.
- `_classes.csv`: `Pixel Value, Class`, as Roboflow writes it.
- `objectInfo150.txt` of ADE20K's scene parsing benchmark: the classes have the numbers from 1, and 0 is ignored.

A class that is called void, unlabelled, unlabeled, ignore or ignored is no class: its pixels are ignored.
"""

import csv
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

from parckit.contract import InputError
from parckit.data.box_records import read_text
from parckit.data.mask_coding import Colour, MaskCoding, make_coding
from parckit.processing import IGNORED

TABLE_FILES = (
    "classes.txt",
    "labels.txt",
    "class_dict.csv",
    "classes.csv",
    "label_colors.txt",
    "_classes.csv",
    "objectInfo150.txt",
)
"""Names of class tables; the first one that is there is taken."""

VOID = frozenset({"void", "unlabelled", "unlabeled", "ignore", "ignored"})
"""Names of what is no class, lower case."""

_NUMBERED = re.compile(r"(\d+)[\s,;:]+(\S.*?)(?:[\s,;]+(\d+)[\s,]+(\d+)[\s,]+(\d+))?")
_COLOUR_FIRST = re.compile(r"(\d+)\s+(\d+)\s+(\d+)\s+(\D.*)")
_COLOUR_LAST = re.compile(r"(\D.*?)[\s,;:]+(\d+)[\s,;]+(\d+)[\s,;]+(\d+)")
_ADE = "objectInfo150.txt"
_BYTE = 255


class ClassEntry(NamedTuple):
    """A line of a class table.

    Attributes:
        number: value of the pixels; None if only the colour counts.
        name: name of the class.
        colour: red, green and blue; None if there is none.
    """

    number: int | None
    name: str
    colour: Colour | None = None


class ClassTable(NamedTuple):
    """The classes of a source.

    Attributes:
        labels: class names by index, without void.
        coding: what the pixels mean.
    """

    labels: tuple[str, ...]
    coding: MaskCoding


def find_class_table(*folders: Path) -> Path | None:
    """Return the first class table in one of the folders."""
    paths = (folder / name for folder in folders for name in TABLE_FILES)
    return next((path for path in paths if path.is_file()), None)


def read_class_table(path: Path) -> ClassTable:
    """Read a class table.

    Raises:
        InputError: if it is malformed, or has no class.
    """
    lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
    if not lines:
        raise InputError(f"{path}: is empty; needs a class in every line")
    if path.suffix == ".csv":
        entries = _csv_entries(lines, path=path)
    else:
        entries = _ade_entries(lines, path=path) if path.name == _ADE else _text_entries(lines, path=path)
    return make_class_table(entries, origin=str(path))


def make_class_table(entries: Sequence[ClassEntry], *, origin: str) -> ClassTable:
    """Return the classes of entries; `origin` names the file in errors.

    Raises:
        InputError: if a number, a name or a colour comes twice, is out of range, or all classes are void.
    """
    columns: dict[str, list[object]] = {
        "number": [entry.number for entry in entries if entry.number is not None],
        "class": [entry.name for entry in entries if entry.name.casefold() not in VOID],
        "colour": [entry.colour for entry in entries if entry.colour is not None],
    }
    for what, values in columns.items():
        if len({*values}) < len(values):
            repeated = next(value for value in values if values.count(value) > 1)
            raise InputError(f"{origin}: has the {what} {repeated} twice")
    largest = max((part for entry in entries for part in (entry.number or 0, *(entry.colour or ()))), default=0)
    if largest > _BYTE:
        raise InputError(f"{origin}: has the number {largest}; numbers and colours must lie in 0..255")
    if all(entry.number is not None for entry in entries):
        entries = sorted(entries, key=lambda entry: entry.number or 0)
    labels = tuple(entry.name for entry in entries if entry.name.casefold() not in VOID)
    if not labels or len(labels) > IGNORED:
        raise InputError(f"{origin}: has {len(labels)} classes; accepted are 1 to {IGNORED}")
    class_of = {name: index for index, name in enumerate(labels)}
    return ClassTable(labels, _coding(entries, classes=[class_of.get(entry.name, IGNORED) for entry in entries]))


def _coding(entries: Sequence[ClassEntry], *, classes: Sequence[int]) -> MaskCoding:
    has_numbers = entries[0].number is not None
    colours = [(entry.colour, number) for entry, number in zip(entries, classes, strict=True) if entry.colour]
    numbers = {
        index if entry.number is None else entry.number: number
        for index, (entry, number) in enumerate(zip(entries, classes, strict=True))
    }
    if not has_numbers and colours and all(len({*colour}) == 1 for colour, _ in colours):
        # Black, white and greys: a grey mask holds the colours themselves.
        numbers = {colour[0]: number for colour, number in colours}
    return make_coding(numbers, colours=colours, by_colour=not has_numbers and bool(colours))


def _text_entries(lines: Sequence[str], *, path: Path) -> list[ClassEntry]:
    """Return the classes of a text file. The first line tells its form, and all lines must have it."""
    for form, make in _FORMS:
        if form.fullmatch(lines[0]) is None:
            continue
        matches = [form.fullmatch(line) for line in lines]
        if None in matches:
            line = lines[matches.index(None)]
            raise InputError(f"{path}: the line {line!r} has another form than the first one, {lines[0]!r}")
        return [make(match.groups()) for match in matches if match]
    return [ClassEntry(index, line) for index, line in enumerate(lines)]


def _ade_entries(lines: Sequence[str], *, path: Path) -> list[ClassEntry]:
    """Return the classes of ADE20K, called by their first synonym: `building` for `building, edifice`."""
    heading, *rows = csv.reader(lines, delimiter="\t")
    try:
        number_at, name_at = heading.index("Idx"), heading.index("Name")
        names = [(int(row[number_at]), row[name_at]) for row in rows]
    except (IndexError, ValueError) as error:
        raise InputError(f"{path}: needs the columns Idx and Name, with tabs between them") from error
    short = [name.split(",")[0].strip() for _, name in names]
    unique = short if len({*short}) == len(short) else [name for _, name in names]
    classes = [ClassEntry(number, name) for (number, _), name in zip(names, unique, strict=True)]
    return [ClassEntry(0, "void"), *classes]


def _csv_entries(lines: Sequence[str], *, path: Path) -> list[ClassEntry]:
    rows = [[cell.strip() for cell in row] for row in csv.reader(lines, delimiter=";" if ";" in lines[0] else ",")]
    heading = [cell.casefold() for cell in rows[0]]
    if heading == ["pixel value", "class"]:
        rows, columns = rows[1:], (1,)
    else:
        has_heading = {"r", "g", "b"} <= {*heading} and ("name" in heading or "class" in heading)
        names = heading if has_heading else ["name", "r", "g", "b"]
        rows = rows[1:] if has_heading else rows
        first = names.index("name") if "name" in names else names.index("class")
        columns = (first, *(names.index(channel) for channel in "rgb"))
    try:
        if len(columns) == 1:
            return [ClassEntry(int(row[0]), row[1]) for row in rows]
        return [ClassEntry(None, row[columns[0]], _colour([row[at] for at in columns[1:]])) for row in rows]
    except (IndexError, ValueError) as error:
        raise InputError(
            f"{path}: needs the columns name,r,g,b, with a name and three numbers in every line"
        ) from error


def _colour(cells: Sequence[str]) -> Colour:
    red, green, blue = map(int, cells)
    return red, green, blue


_FORMS: Sequence[tuple[re.Pattern[str], Callable[[Sequence[str]], ClassEntry]]] = (
    (_COLOUR_FIRST, lambda parts: ClassEntry(None, parts[3].strip(), _colour(parts[:3]))),
    (_NUMBERED, lambda parts: ClassEntry(int(parts[0]), parts[1].strip(), _colour(parts[2:]) if parts[2] else None)),
    (_COLOUR_LAST, lambda parts: ClassEntry(None, parts[0].strip(), _colour(parts[1:]))),
)
"""Forms of the lines of a text file, and what makes a class of their parts. Other lines are names alone."""
