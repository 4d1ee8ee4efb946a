"""Boxes and masks in COCO's json files.

Accepted are one json file, or a folder with a json file for every split:

- `annotations/instances_train2017.json` beside `train2017/`, as the official files lie; other names of a split in the
  file name, such as `annotations/val.json`, are understood too;
- the folder `annotations` itself;
- `train/_annotations.coco.json` beside the pictures, as Roboflow writes it.

Pictures are looked for in a folder that is called like the split, in `images/` with such a folder in it, in `images/`,
in `JPEGImages/`, beside the json file and in the folder above `annotations/`.
"""

import json
import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.box_records import BoxLayout, BoxRecords, NotedFault, list_files, refuse_repeated
from parckit.data.faults import Fault
from parckit.data.segments import Segment
from parckit.data.splits import NAMED, SPELLINGS, Named, find_splits
from parckit.processing import subfolders

_OTHER_TASKS = frozenset({"keypoints", "captions", "stuff", "panoptic", "info", "unlabeled"})
"""Words in the names of the official files that hold no boxes of all classes."""

_TRIED = 20
"""Pictures that are looked for in a folder before it counts as the folder of the pictures."""

_LARGEST_AREA = 2**62
"""Pixels; no picture has more."""

Item = Any
"""An entry of a list in a COCO file."""

_LISTS = ("images", "annotations", "categories")


class _Annotations(NamedTuple):
    """The columns of the list `annotations`; picture and class are -1, and areas NaN, if the file has none."""

    pictures: NDArray[np.int64]
    classes: NDArray[np.int64]
    boxes: NDArray[np.float64]
    crowd: NDArray[np.bool_]
    segments: list[Segment | None]
    areas: NDArray[np.float64]


def find_coco(folder: Path, *, is_named: bool = True) -> BoxLayout | None:
    """Return the COCO files of a folder; None if there are none.

    Args:
        folder: the folder of the data, or its folder `annotations`.
        is_named: accept only files that are called like a split; otherwise one json file with any name is `train`.
    """
    for inner in (folder / "annotations", folder):
        files = [path for path in list_files(inner, ending=".json") if _words_of(path).isdisjoint(_OTHER_TASKS)]
        by_split = _by_split(files, source=str(inner))
        if not by_split and not is_named and len(files) == 1:
            return _layout({"train": files[0]})
        if by_split:
            return _layout(by_split)
    splits = find_splits(_split_folders(folder), source=str(folder))
    # Roboflow writes _annotations.coco.json; other tools use other names.
    beside: dict[Named, Path] = {split: list_files(folder / name, ending=".json")[0] for split, name in splits.items()}
    return _layout(beside) if beside else None


def find_coco_file(path: Path) -> BoxLayout:
    """Return the only split of a COCO file: the one that it is called like, otherwise train."""
    split = _split_of(path) or SPELLINGS.get(path.parent.name.casefold(), "train")
    return _layout({split: path})


def _split_folders(folder: Path) -> list[str]:
    """Return the folders that are called like a split and hold one json file."""
    names = subfolders(str(folder), left_out=[]).folders
    return [
        name for name in names if name.casefold() in SPELLINGS and len(list_files(folder / name, ending=".json")) == 1
    ]


def _layout(files: Mapping[Named, Path]) -> BoxLayout:
    present: tuple[Named, ...] = tuple(split for split in NAMED if split in files)
    return BoxLayout(format="coco", present=present, read=lambda split: read_coco(files[split], split=split))


def _words_of(path: Path) -> set[str]:
    return {*re.split(r"[^a-z]+", path.stem.casefold())}


def _split_of(path: Path) -> Named | None:
    splits: set[Named] = {SPELLINGS[word] for word in _words_of(path) if word in SPELLINGS}
    return splits.pop() if len(splits) == 1 else None


def _by_split(files: Sequence[Path], *, source: str) -> dict[Named, Path]:
    by_split: dict[Named, Path] = {}
    for path in files:
        if (split := _split_of(path)) is None:
            continue
        if split in by_split:
            raise InputError(
                f"{source}: {by_split[split].name} and {path.name} both mean the split {split}; keep one of them"
            )
        by_split[split] = path
    return by_split


def read_coco(path: Path, *, split: Named) -> BoxRecords:
    """Read a COCO file.

    Raises:
        InputError: if the file is malformed, or none of its pictures is there.
    """
    content = _load(path)
    images = [_image(image, path=path) for image in content["images"]]
    names = [name for _, name, _ in images]
    refuse_repeated(names, origin=str(path))
    position_of = {identifier: position for position, (identifier, _, _) in enumerate(images)}
    if len(position_of) < len(images):
        raise InputError(f"{path}: two of its images have the same id")
    entries = content["annotations"]
    numbers = _column("category_id", annotations=entries, path=path)
    categories = _categories(content["categories"], used={*numbers}, path=path)
    class_of = {identifier: index for index, identifier in enumerate(categories)}
    annotations = _annotations(
        entries, position_of=position_of, classes=[class_of.get(number, -1) for number in numbers], path=path
    )
    folder = _picture_folder(path, names=names, split=split)
    paths = [str(folder / name) for name in names]
    faults = _unknown(annotations, entries, paths=paths, path=path)
    known = np.flatnonzero((annotations.pictures >= 0) & (annotations.classes >= 0))
    order = known[np.argsort(annotations.pictures[known], kind="stable")]
    return BoxRecords(
        origin=str(path),
        labels=tuple(categories.values()),
        names=names,
        paths=paths,
        label_files=[str(path)] * len(paths),
        sizes=np.array([size for _, _, size in images], dtype=np.int64).reshape(-1, 2),
        pictures=annotations.pictures[order],
        boxes=annotations.boxes[order],
        classes=annotations.classes[order],
        crowd=annotations.crowd[order],
        segments=[annotations.segments[index] for index in order.tolist()],
        areas=annotations.areas[order],
        marks=[_mark(entries, index) for index in order.tolist()],
        faults=faults,
    )


def _load(path: Path) -> dict[str, list[Any]]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: cannot be read as JSON ({error})") from error
    if not isinstance(content, dict) or not all(isinstance(content.get(name), list) for name in _LISTS):
        raise InputError(f"{path}: is no COCO file; it needs the lists {', '.join(_LISTS)}")
    for name in _LISTS:
        for index, entry in enumerate(content[name]):
            if not isinstance(entry, dict):
                raise InputError(f"{path}: {name}[{index}] is {entry!r:.40}; must be a mapping")
    return cast("dict[str, list[Any]]", content)


def _image(image: Item, *, path: Path) -> tuple[Any, str, tuple[int, int]]:
    """Return id, file name and declared size of a picture."""
    try:
        identifier, name = image["id"], image["file_name"]
        hash(identifier)
        size = (int(image.get("width") or 0), int(image.get("height") or 0))
        np.array(size, dtype=np.int64)
    except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as error:
        raise InputError(f"{path}: the image {image!r:.80} needs id, file_name, width and height") from error
    if not isinstance(name, str) or not name:
        raise InputError(f"{path}: the image {image!r:.80} has no file_name")
    # Tools on Windows write backslashes between folders.
    return identifier, name.replace("\\", "/"), size


def _categories(categories: list[Any], *, used: set[Any], path: Path) -> dict[Any, str]:
    """Return id -> name, in the order of the ids; `used` are those of the annotations.

    Roboflow writes the name of the project as a category above all others, which no box has. It is no class.
    """
    try:
        names = {category["id"]: category["name"] for category in sorted(categories, key=lambda item: item["id"])}
        parents = {category["id"]: category.get("supercategory") for category in categories}
    except (KeyError, TypeError) as error:
        raise InputError(f"{path}: categories: each needs a number as id, and a name") from error
    if not names or not all(isinstance(name, str) and name for name in names.values()):
        raise InputError(f"{path}: categories: is empty, or has a name that is no text")
    for identifier, name in list(names.items()):
        others = [parent for other, parent in parents.items() if other != identifier]
        if others and identifier not in used and all(parent == name for parent in others):
            del names[identifier]
    if len({*names.values()}) < len(names) or len(parents) < len(categories):
        raise InputError(f"{path}: categories: two have the same id or name")
    return names


def _annotations(
    annotations: list[Any], *, position_of: Mapping[Any, int], classes: list[int], path: Path
) -> _Annotations:
    pictures = [position_of.get(picture, -1) for picture in _column("image_id", annotations=annotations, path=path)]
    plain = _column("bbox", annotations=annotations, path=path)
    try:
        boxes = np.array(plain, dtype=np.float64).reshape(len(annotations), 4)
    except (TypeError, ValueError, OverflowError) as error:
        raise InputError(f"{path}: {_first_bad_box(annotations)}") from error
    with np.errstate(over="ignore"):
        boxes[:, 2:] += boxes[:, :2]
    return _Annotations(
        pictures=np.array(pictures, dtype=np.int64),
        classes=np.array(classes, dtype=np.int64),
        boxes=boxes,
        crowd=np.array([bool(annotation.get("iscrowd")) for annotation in annotations], dtype=np.bool_),
        segments=[annotation.get("segmentation") or None for annotation in annotations],
        areas=np.array([_area(annotation.get("area")) for annotation in annotations], dtype=np.float64),
    )


def _area(area: Item) -> float:
    """Return the area of an object, pixels; NaN if the file gives none that can be right."""
    return area if isinstance(area, int | float) and 0 < area <= _LARGEST_AREA else math.nan


def _mark(annotations: list[Any], index: int) -> str:
    """Return how errors call an annotation."""
    return f"annotation {annotations[index]['id']}" if "id" in annotations[index] else f"annotations[{index}]"


def _column(key: str, *, annotations: list[Any], path: Path) -> list[Any]:
    """Return a key of all annotations.

    Raises:
        InputError: if one lacks the key, or has a list where an id is needed.
    """
    for index, annotation in enumerate(annotations):
        if key not in annotation:
            raise InputError(f"{path}: {_mark(annotations, index)}: has no {key}")
        if key != "bbox" and isinstance(annotation[key], list | dict):
            raise InputError(f"{path}: {_mark(annotations, index)}: {key} is {annotation[key]!r:.40}; must be an id")
    return [annotation[key] for annotation in annotations]


def _first_bad_box(annotations: list[Any]) -> str:
    for index, annotation in enumerate(annotations):
        box = annotation["bbox"]
        is_box = isinstance(box, list) and len(cast("list[object]", box)) == 4
        if not is_box or not all(isinstance(number, int | float) for number in box):
            return f"{_mark(annotations, index)}: bbox is {box!r:.60}; must be four numbers: left, top, width, height"
    return "annotations: every bbox must be four numbers: left, top, width, height"


def _unknown(annotations: _Annotations, plain: list[Any], *, paths: Sequence[str], path: Path) -> list[NotedFault]:
    """Return a fault for every annotation whose picture or category is not in the file."""
    faults: list[NotedFault] = []
    for index in np.flatnonzero((annotations.pictures < 0) | (annotations.classes < 0)).tolist():
        picture = int(annotations.pictures[index])
        if picture < 0:
            detail = f"{_mark(plain, index)} has the image_id {plain[index]['image_id']!r:.40}, which is not listed"
            faults.append(NotedFault(None, Fault("no picture", str(path), detail)))
        else:
            number = plain[index]["category_id"]
            detail = f"the category_id {number!r:.40} is not listed ({path.name}, {_mark(plain, index)})"
            faults.append(NotedFault(picture, Fault("unknown class", paths[picture], detail)))
    return faults


def _picture_folder(path: Path, *, names: Sequence[str], split: Named) -> Path:
    """Return the folder in which most of the first pictures are.

    Raises:
        InputError: if none of them is in any folder.
    """
    root = path.parent.parent if path.parent.name.casefold() == "annotations" else path.parent
    # instances_train2017.json belongs to train2017/.
    called = path.stem.removeprefix("instances_")
    spellings = [called, split, *(name for name, meaning in SPELLINGS.items() if meaning == split)]
    folders = [
        path.parent,
        *(root / name for name in spellings),
        *(root / "images" / name for name in spellings),
        root / "JPEGImages",
        root / "images",
        root,
    ]
    sample = names[:: max(1, len(names) // _TRIED)]
    hits = [sum((folder / name).is_file() for name in sample) for folder in folders]
    if names and not any(hits):
        tried = ", ".join(dict.fromkeys(str(folder) for folder in folders if folder.is_dir()))
        raise InputError(f"{path}: picture {names[0]} was not found; looked in {tried}")
    return folders[int(np.argmax(hits))]
