"""Boxes as COCO result files hold them, with the numbers of images and categories of a COCO file."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import cast

from parckit.contract import InputError, NetworkSpec, check_target, replacing
from parckit.processing import BoxPrediction, is_video

_Entry = dict[str, object]
_MOST_NAMED = 10
"""Frames that an error names."""


@dataclass(kw_only=True, slots=True)
class CocoNumbers:
    """The numbers of images and categories: those of a COCO file, or new ones that become a COCO file.

    Attributes:
        target: where new numbers are written; None if they come from a file.
        source: the file that they come from, for errors.
        categories: number of every class of the network; None if the file has no such category.
        images: entries of the file, or those made so far.
        by_name: last part of the file name, and number of the frame or None -> entries.
        labels: class names by index.
        frames_lacking: video -> numbers of its frames that the file lacks, of those asked for so far.
    """

    target: Path | None
    source: Path
    labels: tuple[str, ...]
    categories: Sequence[int | None]
    images: list[_Entry] = field(default_factory=list[_Entry])
    by_name: dict[tuple[str, object], list[_Entry]] = field(default_factory=dict[tuple[str, object], list[_Entry]])
    frames_lacking: dict[Path, list[int]] = field(default_factory=dict[Path, list[int]])

    @classmethod
    def of(cls, spec: NetworkSpec, annotations: Path | None, *, files: Sequence[Path]) -> "CocoNumbers":
        """Read the numbers from a COCO file. If it does not exist, number the images and classes from 1.

        Raises:
            InputError: if the network finds no boxes, no file is named, it is damaged, or it lacks one of the pictures,
                all frames of a video or all of the network's classes.
        """
        if spec.task != "detect":
            raise InputError(f"--format coco: is for boxes; this network's task is {spec.task!r}")
        if annotations is None:
            raise InputError("--format coco: needs --annotations FILE, with the numbers of images and categories")
        if not annotations.exists():
            check_target(annotations, option="--annotations")
            numbers = range(1, len(spec.labels) + 1)
            return cls(target=annotations, source=annotations, labels=spec.labels, categories=numbers)
        images, categories = _read(annotations)
        known = {str(entry.get("name")): cast("int", entry["id"]) for entry in categories}
        of_labels = [known.get(label) for label in spec.labels]
        if not any(number is not None for number in of_labels):
            raise InputError(f"{annotations}: has none of the network's classes; its categories are {', '.join(known)}")
        result = cls(target=None, source=annotations, labels=spec.labels, categories=of_labels, images=images)
        for image in images:
            name = PurePosixPath(str(image.get("file_name"))).name
            result.by_name.setdefault((name, image.get("frame")), []).append(image)
        for file in files:
            if not any(result._fitting(file, frame) for frame in result._frames(file)):
                missing = "frame of this video" if is_video(file) else "such image"
                raise InputError(f"{file}: {annotations} has no {missing}")
        return result

    def image(self, path: Path, size: tuple[int, int], place: Mapping[str, object]) -> int | None:
        """Return the number of a picture or frame; None if the COCO file lacks it.

        Args:
            path: the file.
            size: (width, height), pixels.
            place: `frame` and `seconds` of a frame; empty for pictures.
        """
        if self.target is not None:
            width, height = size
            entry: _Entry = {"id": len(self.images) + 1, "file_name": str(path), "width": width, "height": height}
            self.images.append({**entry, **place})
            return len(self.images)
        fitting = self._fitting(path, place.get("frame"))
        if not fitting:  # a frame; `of` has looked for all pictures
            self.frames_lacking.setdefault(path, []).append(cast("int", place["frame"]))
            return None
        return cast("int", max(fitting, key=lambda entry: len(str(entry["file_name"])))["id"])

    def _frames(self, path: Path) -> list[object]:
        """Return the numbers of a video's frames in the COCO file; None alone for a picture."""
        if not is_video(path):
            return [None]
        return [frame for name, frame in self.by_name if name == path.name and frame is not None]

    def _fitting(self, path: Path, frame: object) -> list[_Entry]:
        """Return the entries of the COCO file that may mean a picture or frame; the longest file name counts."""
        # `train/1.jpg` of the file is `photos/train/1.jpg` of the command line.
        whole = path.absolute().as_posix()
        return [
            entry
            for entry in self.by_name.get((path.name, frame), ())
            if f"/{whole}".endswith(f"/{PurePosixPath(str(entry['file_name']))}")  # leaves out "./"
        ]

    @property
    def lacking(self) -> dict[Path, str]:
        """Say for every video which frames have no number, because the COCO file lacks them."""
        return {
            path: f"{path}: {self.source} lacks {len(frames)} of its frames: {_listed(frames)}"
            for path, frames in self.frames_lacking.items()
        }

    def results(self, answer: BoxPrediction, *, image: int) -> Iterator[_Entry]:
        """Give the boxes of a picture. Those of classes that the COCO file lacks are left out."""
        for index, label in enumerate(answer.labels.tolist()):
            if self.categories[label] is None:
                continue
            left, top, right, bottom = answer.boxes[index].astype(float).tolist()
            box = [round(value, 3) for value in (left, top, right - left, bottom - top)]
            mask = {} if answer.masks is None else {"segmentation": answer.masks.compressed_rle(index)}
            score = float(answer.scores[index])
            yield {"image_id": image, "category_id": self.categories[label], "bbox": box, "score": score, **mask}

    def write(self) -> None:
        """Write new numbers as a COCO file without annotations."""
        if self.target is None:
            return
        pairs = zip(self.categories, self.labels, strict=True)
        categories = [{"id": number, "name": label} for number, label in pairs]
        with replacing(self.target) as temporary:
            text = json.dumps({"images": self.images, "categories": categories, "annotations": []})
            temporary.write_text(text, encoding="utf-8")


def _listed(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers[:_MOST_NAMED])) + (", ..." if len(numbers) > _MOST_NAMED else "")


def _read(path: Path) -> tuple[list[_Entry], list[_Entry]]:
    """Return the images and categories of a COCO file.

    Raises:
        InputError: if it is no such file.
    """
    try:
        content = cast("object", json.loads(path.read_text(encoding="utf-8")))
    except ValueError as error:
        raise InputError(f"--annotations {path}: is no COCO file ({error})") from error
    lists = cast("dict[str, object]", content) if isinstance(content, dict) else {}
    parts: list[list[_Entry]] = []
    for name in ("images", "categories"):
        entries = lists.get(name)
        if not isinstance(entries, list) or not all(_has_number(entry) for entry in cast("list[object]", entries)):
            raise InputError(f"--annotations {path}: is no COCO file; it needs a list {name!r} of entries with an 'id'")
        parts.append(cast("list[_Entry]", entries))
    return parts[0], parts[1]


def _has_number(entry: object) -> bool:
    return isinstance(entry, dict) and isinstance(cast("_Entry", entry).get("id"), int)
