"""Masks in a folder, as segmentation data has them: the class of every pixel, and a table of the classes."""

from collections.abc import Sequence
from pathlib import Path

from parckit.cli.file_names import FileNames
from parckit.contract import InputError, replacing
from parckit.processing import MaskPrediction, Prediction

TABLE = "classes.txt"
"""File with the names of the classes in the order of their numbers, which sources of masks read."""


class MaskFiles:
    """Writes `STEM_mask.png` for pictures, and a folder `STEM_masks` with a file for every frame of a video.

    The files are palette pictures: pixels are class numbers, 255 where the network did not see the picture.

    Args:
        folder: where to; None writes nothing.
        labels: class names by index.
        task: of the network.

    Raises:
        InputError: if the network does not tell the class of every pixel.
    """

    def __init__(self, folder: Path | None, *, labels: Sequence[str], task: str) -> None:
        if folder is not None and task != "segment":
            raise InputError(f"--masks {folder}: is for networks that segment; this network's task is {task!r}")
        self._names = None if folder is None else FileNames(folder)
        self._table = None if folder is None else folder / TABLE
        self._labels = labels
        self._video: Path | None = None

    def add(self, answer: Prediction, path: Path, *, frame: int | None) -> None:
        """Write the mask of a picture or a frame.

        Args:
            answer: the class of every pixel.
            path: the file of the picture or video.
            frame: number of the frame; None for pictures.
        """
        if self._names is None or not isinstance(answer, MaskPrediction):
            return
        self._write_table()
        if frame is None:
            target = self._names.path(path.stem, "_mask.png")
        else:
            if frame == 0 or self._video is None:
                self._video = self._names.path(path.stem, "_masks")
                self._video.mkdir(parents=True, exist_ok=True)
            target = self._video / f"{frame:06}_mask.png"
        with replacing(target) as temporary:
            answer.to_image().save(temporary, format="PNG")

    def _write_table(self) -> None:
        if self._table is not None:
            with replacing(self._table) as temporary:
                temporary.write_text("\n".join(self._labels) + "\n", encoding="utf-8")
            self._table = None
