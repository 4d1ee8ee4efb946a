"""Turns pictures with boxes from one format into another: COCO, Pascal VOC and YOLO.

The files of pictures stay as they are; those of `digit_scenes` are drawn. COCO files get masks if every object of the
source has one; VOC and YOLO files get boxes only. The part that is held out of `train` becomes `val`, so the new files
give the same pictures for every split. Boxes that nobody has to find become `iscrowd` in COCO, the only mark that
COCO's metric heeds, and `difficult` in VOC. YOLO cannot mark them; they are left out.
"""

import logging
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast, get_args

import numpy as np

from parckit.contract import InputError
from parckit.data.box_records import BoxFormat
from parckit.data.box_writing import WRITERS, PlainPicture
from parckit.data.boxes import is_digit_scenes, read_splits
from parckit.data.faults import OnBoxFault, tell_faults
from parckit.data.objects import Objects
from parckit.data.packing import Track, filling, untracked
from parckit.data.picture_table import BoxTable, PictureFiles
from parckit.data.segments import Segment, encode_mask
from parckit.data.splits import Named
from parckit.data.stored_boxes import StoredBoxes
from parckit.data.turning import UPRIGHT

_log = logging.getLogger(__name__)


def convert_boxes(
    source: str, out: Path, *, to: BoxFormat, on_box_fault: OnBoxFault = "drop", track: Track = untracked
) -> dict[Named, int]:
    """Write the pictures and boxes of all splits in another format.

    Args:
        source: what `parckit.data.boxes.open_boxes` takes.
        out: the new folder; must be new or empty. It appears when everything is written.
        to: the format.
        on_box_fault: `"drop"` leaves out what `open_boxes` drops; `"raise"` refuses a source with faults.
        track: gets the pictures of every split while they are written.

    Returns:
        The number of pictures written per split.

    Raises:
        InputError: as `open_boxes`; or if `to` is unknown, `out` is not empty or is inside the source, or VOC cannot
            hold the name of a class.
    """
    if to not in WRITERS:
        raise InputError(f"to={to!r}: choose from {get_args(BoxFormat)}")
    folder = Path(source).expanduser()
    if not is_digit_scenes(source) and folder.exists() and out.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{out}: is inside {source}; choose a folder outside")
    writer = WRITERS[to]
    masks = None if to == "coco" else False
    tables: dict[Named, BoxTable] = {split: read(masks) for split, read in read_splits(source).items()}
    labels = tuple(dict.fromkeys(label for table in tables.values() for label in table.labels))
    writer.check(labels)
    faults = [fault for table in tables.values() for fault in table.faults]
    tell_faults(faults, source=source, on_fault=on_box_fault, option="on_box_fault")
    # Files in different folders may have the same name; VOC keeps the pictures of all splits in one folder.
    names = _Names()
    with filling(out) as temporary:
        for split, table in tables.items():
            pictures = temporary / writer.folder(split)
            pictures.mkdir(parents=True, exist_ok=True)
            written = [
                _write_picture(table, index, folder=pictures, names=names, labels=labels, wants_masks=to == "coco")
                for index in track(range(len(table.targets)))
            ]
            writer.write(temporary, split, written, labels)
        writer.finish(temporary, list(tables), labels)
    _tell_ignored(tables, to=to)
    return {split: len(table.targets) for split, table in tables.items()}


def _tell_ignored(tables: Mapping[Named, BoxTable], *, to: BoxFormat) -> None:
    stored = [table.targets for table in tables.values() if isinstance(table.targets, StoredBoxes)]
    ignored = sum(int(boxes.crowd.sum()) for boxes in stored)
    if ignored and to == "yolo":
        _log.warning("%d boxes of crowds or difficult objects are left out; YOLO files cannot mark them", ignored)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Names:
    """Gives out file names whose parts before the ending all differ."""

    taken: set[str] = field(default_factory=set[str])

    def take(self, name: str) -> str:
        """Return the name, or one with a number in it if the name is taken."""
        path = Path(name)
        # Bytes of a name that are not UTF-8 cannot be written to a file of labels.
        stem = path.stem.encode(errors="replace").decode()
        number, free = 1, stem
        while free.casefold() in self.taken:
            number += 1
            free = f"{stem}_{number}"
        self.taken.add(free.casefold())
        return free + path.suffix


def _write_picture(
    table: BoxTable, index: int, *, folder: Path, names: _Names, labels: tuple[str, ...], wants_masks: bool
) -> PlainPicture:
    """Copy or draw a picture, and return it with its objects."""
    file = names.take(table.pictures.file_name(index))
    if isinstance(table.pictures, PictureFiles):
        shutil.copyfile(table.name(index), folder / file)
    else:
        table.load(index).save(folder / file)
    objects = table.targets[index]
    masks = objects.masks if wants_masks else None
    return PlainPicture(
        file=file,
        size=table.size(index),
        boxes=objects.boxes.numpy().astype(np.float64),
        labels=[labels.index(table.labels[label]) for label in objects.labels.tolist()],
        crowd=objects.crowd.tolist(),
        segments=[] if masks is None else _segments(table, index, objects),
        areas=_areas(objects),
    )


def _areas(objects: Objects) -> list[float]:
    """Return the areas of objects, or nothing if only those of their boxes are known."""
    if objects.areas is not None:
        return objects.areas.tolist()
    return [] if objects.masks is None else objects.masks.flatten(1).sum(dim=1).tolist()


def _segments(table: BoxTable, index: int, objects: Objects) -> list[Segment]:
    """Return the masks of a picture: as the source has them, or as runs of pixels if they were turned."""
    boxes = table.targets
    if isinstance(boxes, StoredBoxes) and boxes.segments is not None and boxes.orientations[index] == UPRIGHT:
        return [boxes.segments[number] for number in range(int(boxes.starts[index]), int(boxes.starts[index + 1]))]
    return [cast("Segment", encode_mask(mask)) for mask in objects.masks.numpy()] if objects.masks is not None else []
