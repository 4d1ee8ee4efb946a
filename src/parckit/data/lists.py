"""Lists of image files: `photos.csv` with the columns `path,label[,split]`, or `photos.txt` with one path per line.

Paths are relative to the folder of the list, or absolute. In a `.txt` file the class of an image is the name of its
folder. Splits have the same names as folders of splits. Without a column `split`, a list that is called like a split,
such as `val.csv`, is that split; any other list is `train`. `{train,val}.csv` and `*.csv` join lists to one source.
"""

import csv
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parckit.contract import InputError
from parckit.data.folder import FileTable
from parckit.data.shardlist import expand_paths
from parckit.data.splits import NAMED, SPELLINGS, Named, Split, part_of, resolve_split, sort_labels

LIST_EXTENSIONS = (".csv", ".txt")
_REQUIRED = ("path", "label")
_DELIMITERS = ",;\t"
"""Spreadsheets write semicolons where the comma is the decimal mark."""

_LONGEST_LIST = 1 << 30
"""Bytes. The whole list is held in memory."""


class _Row(NamedTuple):
    """An image of a list; `name` is its path as the list writes it."""

    path: str
    name: str
    label: str
    split: Named


def is_list(source: str) -> bool:
    """Tell whether a source is a list of files, or a pattern of lists."""
    return source.lower().endswith(LIST_EXTENSIONS)


def open_list(source: str, *, split: Split) -> FileTable:
    """Open the images of a split.

    Files of any ending are taken, because the list names them.

    Args:
        source: path of a list, or a pattern with braces or wildcards.
        split: the wanted split; see `parckit.data.splits`.

    Raises:
        InputError: if a list is malformed, an image appears twice, or the split would be empty.
    """
    rows = _read_all(source)
    labels = sort_labels(row.label for row in rows)
    index_of = {label: index for index, label in enumerate(labels)}
    served = str(split)
    if split != "all":
        resolved = resolve_split(split, present=_splits(rows), source=source)
        served, rows = str(resolved), [row for row in rows if row.split == resolved.name]
        targets = np.array([index_of[row.label] for row in rows], dtype=np.int64)
        names = [row.name for row in rows]
        kept = part_of(names, targets=targets, labels=labels, part=resolved.part, source=source)
        rows = [rows[index] for index in kept]
    return FileTable(
        labels=labels,
        served=served,
        targets=np.array([index_of[row.label] for row in rows], dtype=np.int64),
        paths=np.array([os.fsencode(row.path) for row in rows]),
    )


def list_splits(source: str) -> list[Named]:
    """Return the splits that a list, or a pattern of lists, has.

    Raises:
        InputError: if a list is malformed, or an image appears twice.
    """
    return _splits(_read_all(source))


def _splits(rows: Sequence[_Row]) -> list[Named]:
    present = {row.split for row in rows}
    return [name for name in NAMED if name in present]


def _read_all(source: str) -> list[_Row]:
    rows = [row for path in expand_paths(source, kind="list") for row in _read(path)]
    if not rows:
        raise InputError(f"{source}: lists no images")
    _refuse_repeated(rows, source=source)
    return rows


def _read(path: Path) -> list[_Row]:
    try:
        if path.stat().st_size > _LONGEST_LIST:
            raise InputError(f"{path}: has more than {_LONGEST_LIST} bytes")
        # utf-8-sig: a byte order mark is no part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = _csv_rows(file, path=path) if path.suffix.lower() == ".csv" else _text_rows(file, path=path)
            return list(rows)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list in UTF-8 ({error})") from error


def _text_rows(lines: Iterator[str], *, path: Path) -> Iterator[_Row]:
    for line in lines:
        if name := line.rstrip("\r\n"):
            image = path.parent / name
            # Without `..`, which is no name of a class.
            label = Path(os.path.normpath(image.absolute())).parent.name
            yield _Row(str(image), name, label, _split_of(path))


def _csv_rows(lines: Iterator[str], *, path: Path) -> Iterator[_Row]:
    first = next(lines, "")
    columns, delimiter = _columns(first, path=path)
    path_at, label_at = (columns.index(name) for name in _REQUIRED)
    split_at = columns.index("split") if "split" in columns else None
    reader = csv.reader(lines, delimiter=delimiter)
    for cells in reader:
        if not any(cells):
            continue
        where = f"{path}, line {reader.line_num + 1}"
        if len(cells) != len(columns):
            raise InputError(f"{where}: has {len(cells)} cells; the first line has {len(columns)}")
        name, label = cells[path_at], cells[label_at].strip()
        if not name or not label:
            raise InputError(f"{where}: path and label must not be empty")
        split = _split_of(path) if split_at is None else _named(cells[split_at], where=where)
        yield _Row(str(path.parent / name), name, label, split)


def _columns(line: str, *, path: Path) -> tuple[list[str], str]:
    """Return the names of the columns in the first line, and what separates them."""
    for delimiter in _DELIMITERS:
        (names,) = csv.reader([line], delimiter=delimiter)
        columns = [name.strip().casefold() for name in names]
        if set(_REQUIRED) <= set(columns):
            return columns, delimiter
    raise InputError(f"{path}: the first line must name the columns path,label or path,label,split")


def _split_of(path: Path) -> Named:
    return SPELLINGS.get(path.stem.casefold(), "train")


def _named(cell: str, *, where: str) -> Named:
    if (split := SPELLINGS.get(cell.strip().casefold())) is None:
        raise InputError(f"{where}: unknown split {cell!r:.40}; accepted are {', '.join(SPELLINGS)}")
    return split


def _refuse_repeated(rows: Sequence[_Row], *, source: str) -> None:
    """Refuse an image that is listed twice: it could be trained on and held out, or have two classes."""
    labels: dict[str, str] = {}
    for row in rows:
        path = os.path.normpath(row.path)
        if path in labels:
            other = "" if labels[path] == row.label else f", as {labels[path]} and as {row.label}"
            raise InputError(f"{source}: lists {row.name} twice{other}")
        labels[path] = row.label
