"""Boxes in YOLO's text files: a line `class x y width height` for every box, in shares of the upright picture.

Accepted are a yaml file, or a folder with one. It has the key `names`, a list of classes or a mapping from numbers to
classes, and the keys `train`, `val` and `test`. Each of these names a folder, a text file with a path per line, or a
list of them, relative to the key `path`, or to the folder of the yaml file. The labels of `images/a/b.jpg` are in
`labels/a/b.txt`; if the path has no folder `images`, they lie beside the picture. A picture without such a file shows
no object. A line with more numbers is a polygon: `class x1 y1 x2 y2 x3 y3 ...`.
"""

import math
import os
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
import yaml

from parckit.contract import InputError
from parckit.data.box_records import BoxLayout, BoxRecords, NotedFault, list_files, read_text, refuse_repeated
from parckit.data.faults import Fault
from parckit.data.splits import NAMED, SPELLINGS, Named
from parckit.processing import IMAGE_EXTENSIONS, pictures
from parckit.processing.listing import list_folder

_YAML = (".yaml", ".yml")
_KEYS: Mapping[Named, tuple[str, ...]] = {"train": ("train",), "val": ("val", "valid"), "test": ("test",)}
_BOX = 4
"""Numbers after the class in a line of a box."""

_SMALLEST_POLYGON = 6
_SLACK = 1.001
"""Shares that are larger count as pixels. Rounding makes a share hardly larger than 1."""

_NO_LABELS = frozenset({"classes", *SPELLINGS})
"""Names of text files that list classes or pictures, and may lie beside the labels."""

Value = Any
"""A value of a key in a yaml file."""

Shares = tuple[float, float, float, float]
Polygon = list[float]


class _Row(NamedTuple):
    """An object in a file of labels."""

    number: int
    box: Shares
    polygon: Polygon | None


def find_yolo(folder: Path) -> BoxLayout | None:
    """Return the YOLO files of a folder; None if it has no yaml file that names classes and pictures."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _YAML and path.is_file())
    described = [path for path in files if _is_description(path)]
    # ultralytics and Roboflow call it data.yaml. Other names are accepted if there is only one.
    described = [path for path in described if path.stem == "data"] or described
    if len(described) > 1:
        raise InputError(f"{folder}: holds {', '.join(path.name for path in described)}; name one of these files")
    return find_yolo_file(described[0]) if described else None


def _is_description(path: Path) -> bool:
    try:
        content = _load(path)
    except InputError:
        return path.stem == "data"
    return "names" in content and any(key in content for keys in _KEYS.values() for key in keys)


def find_yolo_file(path: Path) -> BoxLayout:
    """Return the splits of a yaml file.

    Raises:
        InputError: if the file is malformed.
    """
    content = _load(path)
    labels = _labels(content.get("names"), path=path)
    places: dict[Named, list[str]] = {}
    for split, keys in _KEYS.items():
        value = next((content[key] for key in keys if content.get(key)), None)
        entries = cast("list[object]", value if isinstance(value, list) else [value])
        if not all(isinstance(entry, str) for entry in entries) and value:
            raise InputError(f"{path}: {keys[0]} is {value!r:.60}; must be a folder, a text file, or a list of them")
        if value:
            places[split] = cast("list[str]", entries)
    if not places:
        raise InputError(f"{path}: names no pictures; needs one of the keys train, val and test")
    root = path.parent
    if isinstance(content.get("path"), str) and (root / content["path"]).is_dir():
        root /= content["path"]
    present: tuple[Named, ...] = tuple(split for split in NAMED if split in places)
    return BoxLayout(format="yolo", present=present, read=partial(_read, path, root=root, places=places, labels=labels))


def _load(path: Path) -> dict[str, Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8-sig"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as YAML ({' '.join(str(error).split())})") from error
    if not isinstance(content, dict):
        raise InputError(f"{path}: must have the keys names, train, val and test")
    return cast("dict[str, Any]", content)


def _labels(names: Value, *, path: Path) -> tuple[str, ...]:
    if isinstance(names, dict) and {*names} == {*range(len(cast("dict[Any, Any]", names)))}:
        names = [names[index] for index in range(len(cast("dict[Any, Any]", names)))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{path}: names is {names!r:.60}; must list the classes, or map the numbers from 0 to classes")
    # YAML reads the class `7` as a number.
    labels = tuple(str(name) for name in cast("list[object]", names))
    if len({*labels}) < len(labels):
        raise InputError(f"{path}: names a class twice")
    return labels


def _read(
    path: Path, split: Named, *, root: Path, places: Mapping[Named, list[str]], labels: tuple[str, ...]
) -> BoxRecords:
    """Read the labels of a split.

    Raises:
        InputError: if pictures or all labels are missing, or a file is malformed.
    """
    paths = [file for place in places[split] for file in _pictures(place, root=root, origin=f"{path}: {split}")]
    refuse_repeated(paths, origin=f"{path}: {split}")
    if not paths:
        raise InputError(f"{path}: {split} is {', '.join(places[split])}, which holds no pictures")
    label_files = list(map(label_file, paths))
    rows: list[tuple[int, _Row]] = []
    faults = [NotedFault(None, fault) for fault in _orphans(paths, label_files)]
    is_missing = [not Path(file).is_file() for file in label_files]
    if all(is_missing):
        raise InputError(f"{path}: {split} has {len(paths)} pictures, but no file of labels such as {label_files[0]}")
    in_pixels = 0
    for picture, file in enumerate(label_files):
        if is_missing[picture]:
            faults.append(NotedFault(picture, Fault("background", paths[picture], f"has no labels at {file}")))
            continue
        for row in _rows(file):
            values = row.polygon or row.box
            if max(values) > _SLACK or min(values) < 1 - _SLACK:
                detail = f"{' '.join(f'{value:g}' for value in row.box)}: must be shares of the picture, from 0 to 1"
                faults.append(NotedFault(picture, Fault("wrong unit", file, detail)))
                in_pixels += 1
            elif not 0 <= row.number < len(labels):
                detail = f"class {row.number} is not in names, which has 0 to {len(labels) - 1}"
                faults.append(NotedFault(picture, Fault("unknown class", file, detail)))
            else:
                rows.append((picture, row))
    if in_pixels and not rows:
        file = next(noted.fault.file for noted in faults if noted.fault.kind == "wrong unit")
        raise InputError(f"{file}: no box of {split} is in shares of the picture, from 0 to 1; are they in pixels?")
    return _records(path, paths, label_files, rows, labels=labels, faults=faults)


def _records(
    path: Path,
    paths: list[str],
    label_files: list[str],
    rows: Sequence[tuple[int, _Row]],
    *,
    labels: tuple[str, ...],
    faults: list[NotedFault],
) -> BoxRecords:
    centres = np.array([row.box for _, row in rows], dtype=np.float64).reshape(-1, 4)
    half = centres[:, 2:] / 2
    polygons = [None if row.polygon is None else [row.polygon] for _, row in rows]
    return BoxRecords(
        origin=str(path),
        labels=labels,
        names=_short(paths, folder=path.parent),
        paths=paths,
        label_files=label_files,
        sizes=np.zeros((len(paths), 2), dtype=np.int64),
        pictures=np.array([picture for picture, _ in rows], dtype=np.int64),
        boxes=np.concatenate([centres[:, :2] - half, centres[:, :2] + half], axis=1),
        classes=np.array([row.number for _, row in rows], dtype=np.int64),
        crowd=np.zeros(len(rows), dtype=np.bool_),
        segments=polygons,
        areas=np.array([math.nan if row.polygon is None else _area(row.polygon) for _, row in rows], dtype=np.float64),
        is_relative=True,
        faults=faults,
    )


def _pictures(place: str, *, root: Path, origin: str) -> Iterator[str]:
    """Yield the pictures in a folder or in a text file."""
    path = root / place
    # Roboflow writes ../train/images for the folder train/images beside the yaml file.
    if not path.exists() and place.startswith("../"):
        path = root / place.removeprefix("../")
    if path.is_dir():
        yield from pictures(str(path), endings=IMAGE_EXTENSIONS, left_out=[])
        return
    if not path.is_file() or path.suffix.lower() != ".txt":
        raise InputError(f"{origin} is {place}, but {path} is neither a folder nor a text file with paths")
    for line in read_text(path).splitlines():
        if name := line.strip():
            yield str(path.parent / name if (path.parent / name).exists() else root / name)


def label_file(picture: str) -> str:
    """Return where the labels of a picture are."""
    parts = list(Path(picture).with_suffix(".txt").parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 2 - parts[-2::-1].index("images")] = "labels"
    return str(Path(*parts))


def _orphans(paths: Sequence[str], label_files: Sequence[str]) -> list[Fault]:
    """Return the files of labels whose picture does not exist. Pictures of other splits may lie beside those here."""
    folders = {(Path(labels).parent, Path(picture).parent) for labels, picture in zip(label_files, paths, strict=True)}
    stems: dict[Path, set[str]] = {}
    for labels, beside in folders:
        names = map(Path, list_folder(str(beside), left_out=[]).files)
        stems.setdefault(labels, set()).update(name.stem for name in names if name.suffix.lower() in IMAGE_EXTENSIONS)
    orphans = sorted(
        path
        for labels, known in stems.items()
        for path in list_files(labels, ending=".txt")
        if path.stem not in known and path.stem.casefold() not in _NO_LABELS
    )
    return [Fault("no picture", str(path), "belongs to no picture") for path in orphans]


def _short(paths: Sequence[str], *, folder: Path) -> list[str]:
    """Return paths as seen from the folder of the yaml file: what is held out must not depend on the machine.

    If pictures lie elsewhere, their paths begin below the folder that all of them are in.
    """
    folder, *places = (Path(os.path.abspath(path)) for path in (folder, *paths))  # noqa: PTH100 - resolves no links
    if not all(place.is_relative_to(folder) for place in places):
        folder = Path(os.path.commonpath([place.parent for place in places]))
    return [place.relative_to(folder).as_posix() for place in places]


def _rows(file: str) -> Iterator[_Row]:
    for index, line in enumerate(read_text(Path(file)).splitlines()):
        cells = line.split()
        if not cells:
            continue
        try:
            number, *values = map(float, cells)
            is_polygon = len(values) >= _SMALLEST_POLYGON and len(values) % 2 == 0
            if not (len(values) == _BOX or is_polygon) or number != int(number):
                raise ValueError("neither a box nor a polygon")
        except (ValueError, OverflowError) as error:
            accepted = "class x y width height, or class x1 y1 x2 y2 x3 y3 ..."
            raise InputError(f"{file}, line {index + 1}: is {line.strip()!r:.60}; accepted is {accepted}") from error
        yield _Row(int(number), _box(values), values if is_polygon else None)


def _box(values: Sequence[float]) -> Shares:
    if len(values) == _BOX:
        return values[0], values[1], values[2], values[3]
    left, right, top, bottom = min(values[::2]), max(values[::2]), min(values[1::2]), max(values[1::2])
    return (left + right) / 2, (top + bottom) / 2, right - left, bottom - top


def _area(polygon: Polygon) -> float:
    """Return the area that a polygon encloses (the shoelace formula), as COCO's files give it; NaN if it has none."""
    x, y = np.array(polygon).reshape(-1, 2).T
    area = abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1))) / 2
    return area or math.nan
