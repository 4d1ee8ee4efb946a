"""Small files of masks in the layouts of the usual data sets, and the real CamVid data."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from box_files import write_picture
from parckit.data import MaskTable

CAMVID = Path(__file__).parents[2] / "shared" / "data" / "camvid.zip"
needs_camvid = pytest.mark.skipif(
    not CAMVID.is_file(), reason="needs ../shared/data/camvid.zip, which a clone does not have"
)

VOC_COLOURS = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128)]
"""The first colours of VOC's palette."""


def stems(table: MaskTable) -> list[str]:
    """Return the names of the pictures without folder and ending."""
    return [Path(table.name(index)).stem for index in range(len(table.targets))]


def kinds(table: MaskTable) -> list[str]:
    """Return the kinds of the faults, in order."""
    return [fault.kind for fault in table.faults]


def quarters(first: int = 0, second: int = 1, *, size: tuple[int, int] = (40, 30)) -> NDArray[np.uint8]:
    """Return a mask of (width, height): `first`, with `second` in the upper left quarter."""
    width, height = size
    mask = np.full((height, width), first, dtype=np.uint8)
    mask[: height // 2, : width // 2] = second
    return mask


def write_mask(path: Path, mask: NDArray[Any], *, palette: Sequence[tuple[int, int, int]] | None = None) -> Path:
    """Write a mask: grey with 8 or 16 bits, (H, W, 3) with colours, or with a palette."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(mask)
    if palette is not None:
        image.putpalette([channel for colour in palette for channel in colour])
    image.save(path)
    return path


def cut_in_half(path: Path) -> None:
    """Break a picture or a mask whose header stays whole."""
    content = path.read_bytes()
    path.write_bytes(content[: len(content) // 2])


def paint(mask: NDArray[np.uint8], colours: Mapping[int, tuple[int, int, int]]) -> NDArray[np.uint8]:
    """Return a mask of numbers as one of colours."""
    painted = np.zeros((*mask.shape, 3), dtype=np.uint8)
    for number, colour in colours.items():
        painted[mask == number] = colour
    return painted


def write_pairs(root: Path, masks: Mapping[str, NDArray[Any]], *, classes: str = "road\ncar\n") -> Path:
    """Write `images/NAME.jpg` and `masks/NAME.png`, and `classes.txt`."""
    for seed, (name, mask) in enumerate(masks.items()):
        write_picture(root / "images" / f"{name}.jpg", size=(mask.shape[1], mask.shape[0]), seed=seed)
        write_mask(root / "masks" / f"{name}.png", mask)
    (root / "classes.txt").write_text(classes)
    return root


def write_voc_masks(root: Path, name: str, mask: NDArray[np.uint8], *, folder: str = "SegmentationClass") -> None:
    """Write a picture and its mask as VOC has them: a palette PNG whose numbers are classes."""
    write_picture(root / "JPEGImages" / f"{name}.jpg", size=(mask.shape[1], mask.shape[0]))
    # VOC's palette has 256 colours, and 255 is shown in a light colour.
    palette = [*VOC_COLOURS, *[(7, 7, 7)] * (255 - len(VOC_COLOURS)), (224, 224, 192)]
    write_mask(root / folder / f"{name}.png", mask, palette=palette)


def write_voc_lists(root: Path, **names: str) -> None:
    """Write `ImageSets/Segmentation/SPLIT.txt`."""
    folder = root / "ImageSets" / "Segmentation"
    folder.mkdir(parents=True, exist_ok=True)
    for split, text in names.items():
        (folder / f"{split}.txt").write_text(text)


def write_cityscapes(root: Path, split: str, city: str, number: int, ids: NDArray[np.uint8]) -> None:
    """Write a picture and the files that belong to it under `gtFine`, as Cityscapes has them."""
    stem = f"{city}_{number:06}_000019"
    size = (ids.shape[1], ids.shape[0])
    write_picture(root / "leftImg8bit" / split / city / f"{stem}_leftImg8bit.png", size=size, seed=number)
    folder = root / "gtFine" / split / city
    write_mask(folder / f"{stem}_gtFine_labelIds.png", ids)
    write_mask(folder / f"{stem}_gtFine_instanceIds.png", ids.astype(np.uint16) * 1000)
    write_mask(folder / f"{stem}_gtFine_color.png", paint(ids, {7: (128, 64, 128)}))
    (folder / f"{stem}_gtFine_polygons.json").write_text(json.dumps({"objects": []}))
