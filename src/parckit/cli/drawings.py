"""Pictures and videos with their answers drawn, in a folder."""

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from fractions import Fraction
from pathlib import Path
from types import TracebackType

from PIL import Image

from parckit.cli.file_names import FileNames
from parckit.contract import replacing
from parckit.processing import VideoWriter, describe_video


class Drawings:
    """Writes `NAME.answer.png` for pictures and `NAME.answer.mp4` for videos. Use it in a `with` block.

    Args:
        folder: where to; None writes nothing.
        every: N means that only every Nth frame of a video is added; the drawn video lasts as long as the original.
        pictures: the files that are answered; none of them is overwritten.
    """

    def __init__(self, folder: Path | None, *, every: int, pictures: Sequence[Path]) -> None:
        self._names = None if folder is None else FileNames(folder, pictures=pictures)
        self._every = every
        self._video: tuple[VideoWriter, ExitStack] | None = None

    def __enter__(self) -> "Drawings":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self._video is not None:
            _, stack = self._video
            stack.__exit__(kind, error, at)

    def add(
        self,
        draw: Callable[[Image.Image], Image.Image],
        path: Path,
        picture: Image.Image,
        *,
        seconds: float | None,
        is_first: bool,
    ) -> None:
        """Draw an answer.

        Args:
            draw: draws it on the picture.
            path: the file of the picture or video.
            picture: the picture or frame.
            seconds: time of a frame; None for pictures.
            is_first: whether it is the first frame of a video.
        """
        if self._names is None:
            return
        if seconds is None or is_first:
            self.finish_video()
        if seconds is None:
            with replacing(self._names.path(path.name, ".answer.png")) as temporary:
                draw(picture).save(temporary, format="PNG")
            return
        if self._video is None:
            self._video = self._begin_video(self._names.path(path.name, ".answer.mp4"), path)
        self._video[0].write(draw(picture), seconds=seconds)

    def finish_video(self) -> None:
        """Complete the video of the frames so far. If there is none, do nothing."""
        if self._video is not None:
            _, stack = self._video
            self._video = None
            stack.close()

    def _begin_video(self, target: Path, path: Path) -> tuple[VideoWriter, ExitStack]:
        rate = Fraction(describe_video(path).rate, self._every)
        with ExitStack() as stack:
            temporary = stack.enter_context(replacing(target))
            writer = stack.enter_context(VideoWriter(temporary, rate=rate))
            return writer, stack.pop_all()
