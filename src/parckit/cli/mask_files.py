"""Masks in a folder, as segmentation data has them: the class of every pixel, and a table of the classes."""

from collections.abc import Sequence
from pathlib import Path

from parckit.cli.file_names import FileNames
from parckit.contract import InputError, check_folder, replacing
from parckit.processing import MaskPrediction, Prediction

TABLE = "classes.txt"
"""File with the names of the classes in the order of their numbers. Sources of masks read it."""
_FRAME_DIGITS = 6
"""Digits of a frame's number in the name of its mask: enough for nine hours of video."""


class MaskFiles:
    """Writes `STEM_mask.png` for pictures, and a folder `STEM_masks` with a file for every frame of a video.

    The files are palette pictures: pixels are class numbers, 255 where the network did not see the picture. Beside them
    lies `classes.txt`.

    Args:
        folder: where to; None writes nothing.
        labels: class names by index.
        task: of the network.
        pictures: the files that are answered; none of them is overwritten.

    Raises:
        InputError: if the network does not tell the class of every pixel, or the folder has a `classes.txt` with other
            classes.
    """

    def __init__(self, folder: Path | None, *, labels: Sequence[str], task: str, pictures: Sequence[Path]) -> None:
        self._names: FileNames | None = None
        self._table: Path | None = None
        self._text = "\n".join(labels) + "\n"
        self._video: Path | None = None
        if folder is None:
            return
        if task != "segment":
            raise InputError(f"--masks {folder}: is for networks that segment; this network's task is {task!r}")
        self._names = FileNames(folder, pictures=pictures)
        table = folder / TABLE
        if not table.exists():
            self._table = table
        elif table.read_text(encoding="utf-8", errors="replace") != self._text:
            raise InputError(f"--masks {folder}: {TABLE} there has other classes than the network; name another folder")

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
                check_folder(self._video, option="--masks")
                self._video.mkdir(parents=True, exist_ok=True)
                # A former run may have seen more frames.
                for former in self._video.glob(f"{'[0-9]' * _FRAME_DIGITS}_mask.png"):
                    former.unlink()
            target = self._video / f"{frame:0{_FRAME_DIGITS}}_mask.png"
        with replacing(target) as temporary:
            answer.to_image().save(temporary, format="PNG")

    def _write_table(self) -> None:
        if self._table is not None:
            with replacing(self._table) as temporary:
                temporary.write_text(self._text, encoding="utf-8")
            self._table = None
