"""Small files of boxes in the formats COCO, Pascal VOC and YOLO, and the real BCCD data."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import ExifTags, Image

from parckit.data import BoxTable

BCCD = Path(__file__).parents[2] / "shared" / "data" / "bccd.zip"
needs_bccd = pytest.mark.skipif(not BCCD.is_file(), reason="needs ../shared/data/bccd.zip, which a clone does not have")

NEAR_DUPLICATES = {"00013", "00020", "00100", "00251", "00403", "00104", "00331", "00284"}
"""Numbers of BCCD's pictures with two boxes around one cell, as its file `faults.tsv` lists them."""
ZERO_SIZE = {"00338", "00343"}
"""Numbers of BCCD's pictures with a box without size."""


def numbers_of(files: Sequence[str]) -> list[str]:
    """Return the numbers in names like BloodImage_00013.xml, sorted."""
    return sorted(Path(file).stem.removeprefix("BloodImage_") for file in files)


def fault_counts(table: BoxTable) -> dict[str, int]:
    """Return the number of faults of every kind that occurs."""
    return dict(Counter(fault.kind for fault in table.faults))


def fault_files(table: BoxTable, kind: str) -> list[str]:
    """Return the files with faults of a kind, in order. A file with several of them comes several times."""
    return [fault.file for fault in table.faults if fault.kind == kind]


def write_picture(path: Path, *, size: tuple[int, int] = (40, 30), orientation: int = 1, seed: int = 0) -> Path:
    """Write a picture of noise whose stored size is (width, height), with an EXIF orientation."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (size[1], size[0], 3), dtype=np.uint8)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.fromarray(pixels).save(path, exif=exif)
    return path


def coco(
    boxes: Sequence[Mapping[str, Any]] = (),
    *,
    images: Mapping[str, tuple[int, int]] | None = None,
    categories: Mapping[int, str] | None = None,
) -> dict[str, Any]:
    """Return the content of a COCO file; a box that does not say so is of category 1 and of the first image.

    Args:
        boxes: annotations.
        images: file name -> declared width and height.
        categories: id -> name.
    """
    images = {"a.png": (40, 30)} if images is None else images
    categories = {1: "cat", 2: "dog"} if categories is None else categories
    return {
        "images": [
            {"id": number, "file_name": name, "width": width, "height": height}
            for number, (name, (width, height)) in enumerate(images.items())
        ],
        "categories": [{"id": number, "name": name} for number, name in categories.items()],
        "annotations": [{"id": number, "image_id": 0, "category_id": 1, **box} for number, box in enumerate(boxes)],
    }


def write_coco(path: Path, content: object) -> Path:
    """Write a COCO file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def voc_object(label: str, box: Sequence[float], *, extra: str = "") -> str:
    """Return an <object> of a VOC file."""
    edges = "".join(
        f"<{name}>{edge}</{name}>" for name, edge in zip(("xmin", "ymin", "xmax", "ymax"), box, strict=True)
    )
    return f"<object>{extra}<name>{label}</name><bndbox>{edges}</bndbox></object>"


def write_voc(root: Path, name: str, objects: Sequence[str], *, size: tuple[int, int] = (40, 30)) -> Path:
    """Write a picture and its VOC file; return the VOC file."""
    write_picture(root / "JPEGImages" / f"{name}.png", size=(40, 30))
    path = root / "Annotations" / f"{name}.xml"
    path.parent.mkdir(exist_ok=True)
    declared = f"<size><width>{size[0]}</width><height>{size[1]}</height><depth>3</depth></size>"
    path.write_text(f"<annotation><filename>{name}.png</filename>{declared}{''.join(objects)}</annotation>")
    return path


def write_yolo(root: Path, labels: Mapping[str, str | None], *, split: str = "train") -> Path:
    """Write pictures with their lines of boxes, None for no file, and a data.yaml; return its path."""
    for seed, (name, text) in enumerate(labels.items()):
        write_picture(root / "images" / split / f"{name}.png", seed=seed)
        (root / "labels" / split).mkdir(parents=True, exist_ok=True)
        if text is not None:
            (root / "labels" / split / f"{name}.txt").write_text(text)
    path = root / "data.yaml"
    path.write_text(f"names: [cat, dog]\n{split}: images/{split}\n")
    return path
