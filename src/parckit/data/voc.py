"""Boxes in Pascal VOC's xml files.

Accepted are a folder with `Annotations/`, `JPEGImages/` and `ImageSets/Main/{train,val,test}.txt`; its folder
`Annotations`; a folder above it, such as `VOCdevkit/VOC2007`; and folders `train/`, `valid/`, `test/` with xml files
beside the pictures, as Roboflow writes them.

Objects marked `difficult` are not trained on, and nobody has to find them, as in VOC's own evaluation. Coordinates
count pixels from 1, and the last pixel belongs to the box. Without lists of splits, all files are `train`.
`trainval.txt` serves as `train` if there is no `train.txt`. `classes.txt`, if there is one, gives the order of the
classes; otherwise they are sorted by name.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree as ET

import numpy as np

from parckit.contract import InputError
from parckit.data.box_records import BoxLayout, BoxRecords, NotedFault, list_files, read_text, refuse_repeated
from parckit.data.faults import Fault
from parckit.data.splits import NAMED, SPELLINGS, Named, find_splits, sort_labels
from parckit.processing import IMAGE_EXTENSIONS, subfolders
from parckit.processing.listing import list_folder

CLASSES_FILES = ("classes.txt", "labels.txt")
"""Files beside `Annotations` that list the classes, one in a line."""

_LONGEST = 1 << 31
"""Pixels. No picture is larger; a larger declared size is wrong in any case."""

_EDGES = ("xmin", "ymin", "xmax", "ymax")
_MARKS = ("-1", "0", "1")
"""Lists of one class say after the name whether the picture shows it."""


class _Entry(NamedTuple):
    """A picture of a split."""

    name: str
    xml: Path
    picture: Path | None


class _Object(NamedTuple):
    label: str
    box: tuple[float, float, float, float]
    is_difficult: bool


class _Annotation(NamedTuple):
    """The content of an xml file."""

    file_name: str
    size: tuple[int, int]
    objects: list[_Object]


def find_voc(folder: Path) -> BoxLayout | None:
    """Return the VOC files of a folder; None if there are none.

    Raises:
        InputError: if several years lie in the folder, or two lists mean the same split.
    """
    if folder.name == "Annotations" and list_files(folder, ending=".xml"):
        return _standard(folder.parent)
    if (folder / "Annotations").is_dir():
        return _standard(folder)
    patterns = ("*/Annotations", "VOCdevkit/*/Annotations")
    inner = sorted(path.parent for pattern in patterns for path in folder.glob(pattern))
    if len(inner) > 1:
        raise InputError(f"{folder}: holds {', '.join(path.name for path in inner)}; name one of these folders")
    return _standard(inner[0]) if inner else _beside_pictures(folder)


def _standard(root: Path) -> BoxLayout | None:
    annotations = root / "Annotations"
    # Names in lists may contain folders.
    if next(annotations.rglob("*.xml"), None) is None:
        return None
    lists = _lists(root)
    pictures = _pictures(root / "JPEGImages")
    if not lists:
        names: dict[Named, list[str]] = {"train": _all_names(annotations, pictures)}
    else:
        names = {split: _names(path) for split, path in lists.items()}
    entries: dict[Named, list[_Entry]] = {
        split: [_Entry(name, annotations / f"{name}.xml", pictures.get(name)) for name in listed]
        for split, listed in names.items()
    }
    return _layout(root, entries)


def _beside_pictures(folder: Path) -> BoxLayout | None:
    names = [name for name in subfolders(str(folder), left_out=[]).folders if name.casefold() in SPELLINGS]
    entries: dict[Named, list[_Entry]] = {}
    for split, name in find_splits(names, source=str(folder)).items():
        pictures = _pictures(folder / name)
        if list_files(folder / name, ending=".xml"):
            stems = _all_names(folder / name, pictures)
            entries[split] = [_Entry(stem, folder / name / f"{stem}.xml", pictures.get(stem)) for stem in stems]
    return _layout(folder, entries) if entries else None


def _layout(root: Path, entries: Mapping[Named, Sequence[_Entry]]) -> BoxLayout:
    present: tuple[Named, ...] = tuple(split for split in NAMED if split in entries)
    return BoxLayout(format="voc", present=present, read=partial(_read, root, entries))


def _lists(root: Path) -> dict[Named, Path]:
    """Return the list of every split."""
    folder = next((path for path in (root / "ImageSets" / "Main", root / "ImageSets") if path.is_dir()), None)
    if folder is None:
        return {}
    files = {path.stem: path for path in list_files(folder, ending=".txt")}
    splits = find_splits(files, source=str(folder))
    lists: dict[Named, Path] = {split: files[stem] for split, stem in splits.items()}
    if "train" not in lists and "trainval" in files:
        lists["train"] = files["trainval"]
    return lists


def _names(path: Path) -> list[str]:
    """Return the names in a list of pictures, without endings."""
    names: list[str] = []
    for line in read_text(path).splitlines():
        name, _, mark = line.strip().rpartition(" ")
        name = name.strip() if name and mark in _MARKS else line.strip()
        ending = Path(name).suffix
        names += [name.removesuffix(ending) if ending.lower() in IMAGE_EXTENSIONS else name] if name else []
    refuse_repeated(names, origin=str(path))
    return names


def _all_names(annotations: Path, pictures: Mapping[str, Path]) -> list[str]:
    """Return the names of all xml files and of all pictures."""
    return sorted({*pictures, *(path.stem for path in list_files(annotations, ending=".xml"))})


def _pictures(folder: Path) -> dict[str, Path]:
    """Return the pictures of a folder by their names without endings."""
    if not folder.is_dir():
        return {}
    files = map(Path, list_folder(str(folder), left_out=[]).files)
    return {file.stem: folder / file for file in files if file.suffix.lower() in IMAGE_EXTENSIONS}


def _read(root: Path, entries: Mapping[Named, Sequence[_Entry]], split: Named) -> BoxRecords:
    """Read the xml files of a split.

    Raises:
        InputError: if an xml file is malformed, or there is none.
    """
    labels = _listed_classes(root)
    # Without a list of classes, the files of all splits tell which classes there are.
    splits: list[Named] = [split] if labels else list(entries)
    annotations = {entry.xml: _parse(entry.xml) for name in splits for entry in entries[name] if entry.xml.is_file()}
    if not annotations:
        raise InputError(f"{root}: none of the xml files of its pictures exists, such as {entries[split][0].xml}")
    labels = labels or sort_labels(item.label for annotation in annotations.values() for item in annotation.objects)
    if not labels:
        raise InputError(f"{root}: none of its {len(annotations)} xml files has an object")
    complete = [entry for entry in entries[split] if entry.xml in annotations]
    lacking = [
        Fault("missing labels", str(entry.xml), "does not exist")
        for entry in entries[split]
        if entry.xml not in annotations
    ]
    return _records(root, complete, [annotations[entry.xml] for entry in complete], labels=labels, lacking=lacking)


def _records(
    root: Path,
    entries: Sequence[_Entry],
    annotations: Sequence[_Annotation],
    *,
    labels: tuple[str, ...],
    lacking: Sequence[Fault],
) -> BoxRecords:
    index_of = {label: index for index, label in enumerate(labels)}
    faults = [NotedFault(None, fault) for fault in lacking]
    known: list[tuple[int, _Object]] = []
    for picture, (entry, annotation) in enumerate(zip(entries, annotations, strict=True)):
        for item in annotation.objects:
            if item.label in index_of:
                known.append((picture, item))
            else:
                detail = f"class {item.label!r:.40} is not in the list of classes"
                faults.append(NotedFault(picture, Fault("unknown class", str(entry.xml), detail)))
    paths = [
        entry.picture or root / "JPEGImages" / (annotation.file_name or f"{entry.name}.jpg")
        for entry, annotation in zip(entries, annotations, strict=True)
    ]
    return BoxRecords(
        origin=str(root),
        labels=labels,
        names=[entry.name for entry in entries],
        paths=list(map(str, paths)),
        label_files=[str(entry.xml) for entry in entries],
        sizes=np.array([annotation.size for annotation in annotations], dtype=np.int64).reshape(-1, 2),
        pictures=np.array([picture for picture, _ in known], dtype=np.int64),
        boxes=np.array([item.box for _, item in known], dtype=np.float64).reshape(-1, 4),
        classes=np.array([index_of[item.label] for _, item in known], dtype=np.int64),
        crowd=np.array([item.is_difficult for _, item in known], dtype=np.bool_),
        faults=faults,
    )


def _listed_classes(root: Path) -> tuple[str, ...]:
    path = next((root / name for name in CLASSES_FILES if (root / name).is_file()), None)
    if path is None:
        return ()
    labels = tuple(line.strip() for line in read_text(path).splitlines() if line.strip())
    if len({*labels}) < len(labels):
        raise InputError(f"{path}: lists a class twice")
    return labels


def _parse(path: Path) -> _Annotation:
    try:
        # Expat stops at entities that grow without end, and never opens other files.
        root = ET.parse(path).getroot()  # noqa: S314
    except (OSError, ET.ParseError, ValueError, LookupError) as error:
        raise InputError(f"{path}: cannot be read as XML ({error})") from error
    try:
        size = tuple(int(float(root.findtext(f"size/{side}") or 0)) for side in ("width", "height"))
    except (ValueError, OverflowError) as error:
        raise InputError(f"{path}: width and height must be numbers") from error
    return _Annotation(
        file_name=Path((root.findtext("filename") or "").strip()).name,
        size=(min(max(0, size[0]), _LONGEST), min(max(0, size[1]), _LONGEST)),
        objects=list(_objects(root, path=path)),
    )


def _objects(root: ET.Element, *, path: Path) -> Iterator[_Object]:
    for item in root.findall("object"):
        label = (item.findtext("name") or "").strip()
        # A <part> has a box of its own, deeper inside.
        edges = [item.findtext(f"bndbox/{edge}") for edge in _EDGES]
        try:
            left, top, right, bottom = (float(edge or "") for edge in edges)
        except ValueError as error:
            raise InputError(f"{path}: an object needs a bndbox with the numbers {', '.join(_EDGES)}") from error
        if not label:
            raise InputError(f"{path}: an object has no name")
        # Two equal corners come from a click without a drag. They could mean one pixel, but count as an empty box.
        is_click = left == right and top == bottom
        box = (left - 1, top - 1, left - 1, top - 1) if is_click else (left - 1, top - 1, right, bottom)
        yield _Object(label, box, (item.findtext("difficult") or "").strip() == "1")
