"""Writes pictures with boxes as COCO, Pascal VOC or YOLO files, for `parckit.data.converting`."""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree as ET

import numpy as np
import yaml
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.box_records import BoxFormat
from parckit.data.segments import Segment
from parckit.data.splits import Named
from parckit.data.voc import CLASSES_FILES

_DIGITS = 4
"""Decimal places of pixels."""

_SHARE_DIGITS = 8
"""Decimal places of shares of a picture: exact to 0.0001 pixels in pictures of 10,000 pixels."""

_INDENTED = "  "


@dataclass(frozen=True, kw_only=True, slots=True)
class PlainPicture:
    """A picture and its objects, ready to be written.

    Attributes:
        file: name of the picture's file.
        size: width and height of the upright picture, pixels.
        boxes: (left, top, right, bottom), pixels.
        labels: class indices.
        crowd: whether nobody has to find an object; see `Objects`.
        segments: the masks; empty if there are none.
        areas: pixels of every object; empty if only those of the boxes are known.

    Shape:
        boxes: (N, 4)
        labels, crowd: (N,)
    """

    file: str
    size: tuple[int, int]
    boxes: NDArray[np.float64]
    labels: Sequence[int]
    crowd: Sequence[bool]
    segments: Sequence[Segment] = ()
    areas: Sequence[float] = ()


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxWriter:
    """How a format is written.

    Attributes:
        folder: where the pictures of a split go, below the new folder.
        check: refuses classes that the format cannot hold.
        write: writes the labels of a split.
        finish: writes what is written once.
    """

    folder: Callable[[Named], str]
    check: Callable[[Sequence[str]], None]
    write: Callable[[Path, Named, Sequence[PlainPicture], Sequence[str]], None]
    finish: Callable[[Path, Sequence[Named], Sequence[str]], None]


def _write_coco(out: Path, split: Named, pictures: Sequence[PlainPicture], labels: Sequence[str]) -> None:
    images: list[dict[str, object]] = []
    annotations: list[dict[str, object]] = []
    for number, picture in enumerate(pictures, start=1):
        width, height = picture.size
        images.append({"id": number, "file_name": picture.file, "width": width, "height": height})
        for index, (left, top, right, bottom) in enumerate(picture.boxes.tolist()):
            box = [round(value, _DIGITS) for value in (left, top, right - left, bottom - top)]
            annotations.append(
                {
                    "id": len(annotations) + 1,
                    "image_id": number,
                    "category_id": picture.labels[index] + 1,
                    "bbox": box,
                    "area": round(picture.areas[index] if picture.areas else box[2] * box[3], _DIGITS),
                    "iscrowd": int(picture.crowd[index]),
                    "segmentation": picture.segments[index] if picture.segments else [],
                }
            )
    categories = [{"id": index, "name": label} for index, label in enumerate(labels, start=1)]
    content = {"images": images, "annotations": annotations, "categories": categories}
    path = out / "annotations" / f"instances_{split}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content), encoding="utf-8")


def _write_voc(out: Path, split: Named, pictures: Sequence[PlainPicture], labels: Sequence[str]) -> None:
    (out / "Annotations").mkdir(exist_ok=True)
    for picture in pictures:
        root = ET.Element("annotation")
        ET.SubElement(root, "filename").text = picture.file
        size = ET.SubElement(root, "size")
        for name, value in zip(("width", "height", "depth"), (*picture.size, 3), strict=True):
            ET.SubElement(size, name).text = str(value)
        for box, label, is_crowd in zip(picture.boxes.tolist(), picture.labels, picture.crowd, strict=True):
            item = ET.SubElement(root, "object")
            ET.SubElement(item, "name").text = labels[label]
            ET.SubElement(item, "difficult").text = str(int(is_crowd))
            edges = ET.SubElement(item, "bndbox")
            for name, value in _voc_edges(box).items():
                ET.SubElement(edges, name).text = value
        ET.indent(root, _INDENTED)
        ET.ElementTree(root).write(out / "Annotations" / f"{Path(picture.file).stem}.xml", encoding="utf-8")
    lists = out / "ImageSets" / "Main"
    lists.mkdir(parents=True, exist_ok=True)
    names = "".join(f"{Path(picture.file).stem}\n" for picture in pictures)
    (lists / f"{split}.txt").write_text(names, encoding="utf-8")


def _voc_edges(box: Sequence[float]) -> dict[str, str]:
    """Return the edges of a box; VOC counts pixels from 1, and the last pixel belongs to the box."""
    left, top, right, bottom = (round(edge, _DIGITS) for edge in (box[0] + 1, box[1] + 1, box[2], box[3]))
    if left == right and top == bottom:
        # A box of one pixel would look like a click without a drag.
        right += 0.001
    edges = zip(("xmin", "ymin", "xmax", "ymax"), (left, top, right, bottom), strict=True)
    return {name: f"{edge:.{_DIGITS}f}".rstrip("0").rstrip(".") for name, edge in edges}


def _write_yolo(out: Path, split: Named, pictures: Sequence[PlainPicture], _: Sequence[str]) -> None:
    folder = out / "labels" / split
    folder.mkdir(parents=True)
    for picture in pictures:
        lines: list[str] = []
        scale = np.array(picture.size * 2, dtype=np.float64)
        for box, label, is_crowd in zip(picture.boxes / scale, picture.labels, picture.crowd, strict=True):
            left, top, right, bottom = box.tolist()
            shares = ((left + right) / 2, (top + bottom) / 2, right - left, bottom - top)
            # A line cannot say that a box stands for many objects.
            if not is_crowd:
                lines.append(" ".join((str(label), *(f"{share:.{_SHARE_DIGITS}f}" for share in shares))))
        text = "".join(f"{line}\n" for line in lines)
        (folder / f"{Path(picture.file).stem}.txt").write_text(text, encoding="utf-8")


def _finish_voc(out: Path, _: Sequence[Named], labels: Sequence[str]) -> None:
    (out / CLASSES_FILES[0]).write_text("".join(f"{label}\n" for label in labels), encoding="utf-8")


def _finish_yolo(out: Path, splits: Sequence[Named], labels: Sequence[str]) -> None:
    content = {**{split: f"images/{split}" for split in splits}, "names": dict(enumerate(labels))}
    (out / "data.yaml").write_text(yaml.safe_dump(content, allow_unicode=True, sort_keys=False), encoding="utf-8")


def _refuse_broken_lines(labels: Sequence[str]) -> None:
    """Refuse classes that cannot be one line of text."""
    if refused := [label for label in labels if label.splitlines() != [label.strip()] or not label.isprintable()]:
        raise InputError(f"class {refused[0]!r}: cannot be written to VOC files, which have one class name per line")


WRITERS: Mapping[BoxFormat, BoxWriter] = {
    "coco": BoxWriter(folder=str, check=lambda _: None, write=_write_coco, finish=lambda *_: None),
    "voc": BoxWriter(folder=lambda _: "JPEGImages", check=_refuse_broken_lines, write=_write_voc, finish=_finish_voc),
    "yolo": BoxWriter(
        folder=lambda split: f"images/{split}", check=lambda _: None, write=_write_yolo, finish=_finish_yolo
    ),
}
