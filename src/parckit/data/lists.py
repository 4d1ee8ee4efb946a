"""Lists of image files: `photos.csv` with the columns `path,label[,split]`, or `photos.txt` with one path per line.

Paths are relative to the folder of the list, or absolute. In a `.txt` file the class of an image is the name of its
folder. Splits have the same names as folders of splits. Without a column `split`, a list that is called like a split,
such as `val.csv`, is that split; any other list is `train`. `{train,val}.csv` and `*.csv` join lists to one source.

Images with several labels have a column `labels`, with `;` or `|` between the names, or a column of 0 and 1 for every
class. In both, an empty cell means that there is no such label.
"""

import csv
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from parckit.contract import InputError
from parckit.data.folder import FileTable
from parckit.data.shardlist import expand_paths
from parckit.data.splits import NAMED, SPELLINGS, Named, Split, part_of, resolve_split, sort_labels
from parckit.data.targets import ClassTargets, LabelTargets

LIST_EXTENSIONS = (".csv", ".txt")
_PATH, _SPLIT = "path", "split"
_LABEL, _LABELS = "label", "labels"
_SEPARATORS = re.compile(r"[;|]")
"""What separates the labels in a cell."""
_TRUTHS = {"": False, "0": False, "1": True, "0.0": False, "1.0": True}
"""What a cell of a class's own column may hold. Programs that know only floating-point numbers write 1.0."""
_DELIMITERS = ",;\t"
"""Spreadsheets write semicolons where the comma is the decimal mark."""

_LONGEST_LIST = 1 << 30
"""Bytes. The whole list is held in memory."""


class _Row(NamedTuple):
    """An image of a list; `name` is its path as the list writes it."""

    path: str
    name: str
    labels: tuple[str, ...]
    split: Named


def is_list(source: str) -> bool:
    """Tell whether a source is a list of files, or a pattern of lists."""
    return source.lower().endswith(LIST_EXTENSIONS)


def open_list(source: str, *, split: Split, several_labels: bool = False) -> FileTable:
    """Open the images of a split.

    Files of any ending are taken, because the list names them.

    Args:
        source: path of a list, or a pattern with braces or wildcards.
        split: the wanted split; see `parckit.data.splits`.
        several_labels: an image may have any number of labels, not one class.

    Raises:
        InputError: if a list is malformed, an image appears twice, no image has a label, or the split would be empty.
    """
    rows = _read_all(source, several_labels=several_labels)
    labels = _labels_of(rows)
    make_targets = _label_sets if several_labels else _classes
    served = str(split)
    if split != "all":
        # Choose the rows of the split, and the part of them that is wanted.
        resolved = resolve_split(split, present=_splits(rows), source=source)
        rows, served = [row for row in rows if row.split == resolved.name], str(resolved)
        # A label that only validation has is unknown to a network, as a class folder of `val` alone is.
        labels = _labels_of(rows) if several_labels else labels
        names, targets = [row.name for row in rows], make_targets(rows, labels)
        kept = part_of(names, targets=targets, labels=labels, part=resolved.part, source=source)
        rows = [rows[index] for index in kept]
    if not labels:
        raise InputError(f"{source}, {served}: no image has a label")
    return FileTable(
        labels=labels,
        served=served,
        targets=make_targets(rows, labels),
        paths=np.array([os.fsencode(row.path) for row in rows]),
    )


def list_splits(source: str) -> list[Named]:
    """Return the splits that a list, or a pattern of lists, has.

    Raises:
        InputError: if a list is malformed, or an image appears twice.
    """
    return _splits(_read_all(source, several_labels=False))


def _splits(rows: Sequence[_Row]) -> list[Named]:
    present = {row.split for row in rows}
    return [name for name in NAMED if name in present]


def _read_all(source: str, *, several_labels: bool) -> list[_Row]:
    rows = [row for path in expand_paths(source, kind="list") for row in _read(path, several_labels=several_labels)]
    if not rows:
        raise InputError(f"{source}: lists no images")
    _refuse_repeated(rows, source=source)
    return rows


def _labels_of(rows: Sequence[_Row]) -> tuple[str, ...]:
    return sort_labels(label for row in rows for label in row.labels)


def _classes(rows: Sequence[_Row], labels: Sequence[str]) -> ClassTargets:
    index_of = {label: index for index, label in enumerate(labels)}
    return np.array([index_of[row.labels[0]] for row in rows], dtype=np.int64)


def _label_sets(rows: Sequence[_Row], labels: Sequence[str]) -> LabelTargets:
    index_of = {label: index for index, label in enumerate(labels)}
    targets = np.zeros((len(rows), len(labels)), dtype=np.bool_)
    for number, row in enumerate(rows):
        targets[number, [index_of[label] for label in row.labels]] = True
    return targets


def _read(path: Path, *, several_labels: bool) -> list[_Row]:
    try:
        if path.stat().st_size > _LONGEST_LIST:
            raise InputError(f"{path}: has more than {_LONGEST_LIST} bytes")
        # utf-8-sig: a byte order mark is no part of the first column's name.
        with path.open(encoding="utf-8-sig", newline="") as file:
            if path.suffix.lower() != ".csv":
                return list(_text_rows(file, path=path))
            return list(_csv_rows(file, path=path, several_labels=several_labels))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: cannot be read as a list in UTF-8 ({error})") from error


def _text_rows(lines: Iterator[str], *, path: Path) -> Iterator[_Row]:
    for line in lines:
        if name := line.rstrip("\r\n"):
            image = path.parent / name
            # Without `..`, which is no name of a class.
            label = Path(os.path.normpath(image.absolute())).parent.name
            yield _Row(str(image), name, (label,), _split_of(path))


def _csv_rows(lines: Iterator[str], *, path: Path, several_labels: bool) -> Iterator[_Row]:
    header, delimiter = _columns(next(lines, ""), path=path, several_labels=several_labels)
    columns = [name.casefold() for name in header]
    path_at = columns.index(_PATH)
    split_at = columns.index(_SPLIT) if _SPLIT in columns else None
    labels_of = _reader(header, path=path, several_labels=several_labels)
    reader = csv.reader(lines, delimiter=delimiter)
    for cells in reader:
        if not any(cells):
            continue
        where = f"{path}, line {reader.line_num + 1}"
        if len(cells) != len(columns):
            raise InputError(f"{where}: has {len(cells)} cells; the first line has {len(columns)}")
        if not (name := cells[path_at]):
            raise InputError(f"{where}: path must not be empty")
        split = _split_of(path) if split_at is None else _named(cells[split_at], where=where)
        yield _Row(str(path.parent / name), name, labels_of(cells, where), split)


def _columns(line: str, *, path: Path, several_labels: bool) -> tuple[list[str], str]:
    """Return the names of the columns in the first line, and what separates them."""
    for delimiter in _DELIMITERS:
        (names,) = csv.reader([line], delimiter=delimiter)
        columns = [name.strip() for name in names]
        known = {name.casefold() for name in columns}
        if _PATH in known and (_LABEL in known or (several_labels and len(known - {_PATH, _SPLIT}) > 0)):
            return columns, delimiter
    if several_labels:
        accepted = "path,labels (dog;cat), or path and a column of 0 and 1 for every class; split may be added"
    else:
        accepted = "path,label or path,label,split (several labels an image need task multilabel)"
    raise InputError(f"{path}: the first line must name the columns {accepted}")


_LabelsOf = Callable[[Sequence[str], str], tuple[str, ...]]
"""Takes the cells of a line, and the words for where they are; returns the labels of the image."""


def _reader(header: Sequence[str], *, path: Path, several_labels: bool) -> _LabelsOf:
    """Return the function that finds the labels in a line."""
    columns = [name.casefold() for name in header]
    if not several_labels:
        at = columns.index(_LABEL)
        return lambda cells, where: (_one_label(cells[at], where=where),)
    for name in (_LABELS, _LABEL):
        if name in columns:
            at = columns.index(name)
            return lambda cells, where: _split_labels(cells[at], where=where)
    if twice := [name for name, times in Counter(columns).items() if name and times > 1]:
        raise InputError(f"{path}: the first line names the column {twice[0]!r} twice")
    # Spreadsheets may add columns without names.
    classes = {at: name for at, name in enumerate(header) if name and columns[at] not in (_PATH, _SPLIT)}
    return lambda cells, where: tuple(
        name for at, name in classes.items() if _truth(cells[at], column=name, where=where)
    )


def _one_label(cell: str, *, where: str) -> str:
    if not (label := cell.strip()):
        raise InputError(f"{where}: path and label must not be empty")
    return label


def _split_labels(cell: str, *, where: str) -> tuple[str, ...]:
    names = [name.strip() for name in _SEPARATORS.split(cell)] if cell.strip() else []
    if not all(names) or len(set(names)) < len(names):
        raise InputError(f"{where}: labels {cell!r:.80}: a name is empty, or is there twice")
    return tuple(names)


def _truth(cell: str, *, column: str, where: str) -> bool:
    if (truth := _TRUTHS.get(cell.strip())) is None:
        columns = "beside path and split, every column is a class, or one column `labels` holds the names"
        raise InputError(f"{where}: column {column!r} has {cell!r:.40}; accepted are 0 and 1 ({columns})")
    return truth


def _split_of(path: Path) -> Named:
    return SPELLINGS.get(path.stem.casefold(), "train")


def _named(cell: str, *, where: str) -> Named:
    if (split := SPELLINGS.get(cell.strip().casefold())) is None:
        raise InputError(f"{where}: unknown split {cell!r:.40}; accepted are {', '.join(SPELLINGS)}")
    return split


def _refuse_repeated(rows: Sequence[_Row], *, source: str) -> None:
    """Refuse an image that is listed twice: it could be trained on and held out, or have two classes."""
    labels: dict[str, tuple[str, ...]] = {}
    for row in rows:
        path = os.path.normpath(row.path)
        if path in labels:
            both = [", ".join(names) or "nothing" for names in (labels[path], row.labels)]
            other = "" if set(labels[path]) == set(row.labels) else f", as {both[0]} and as {both[1]}"
            raise InputError(f"{source}: lists {row.name} twice{other}")
        labels[path] = row.labels
