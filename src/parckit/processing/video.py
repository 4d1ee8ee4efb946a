"""Videos: their frames as pictures, and pictures as a video. Only a few frames are in memory at a time.

PyAV reads and writes them. It is in the extra `video`, and is loaded when it is needed.
"""

from collections.abc import Generator, Iterator
from contextlib import contextmanager
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps

from parckit.contract import PIXELS_VARIABLE, InputError, MissingExtraError, most_pixels

VIDEO_EXTENSIONS = (
    ".mp4",
    ".m4v",
    ".mov",
    ".mkv",
    ".webm",
    ".avi",
    ".mpg",
    ".mpeg",
    ".wmv",
    ".flv",
    ".3gp",
    ".mts",
    ".m2ts",
)
"""File endings, lower case, that count as videos."""

_MISSING_SECONDS = 0.5
"""A video was cut off if it ends more than this before the end in its header. Some formats give no other sign."""
_TICKS = 90_000
"""Units of time per second in a written video, as in MPEG: at all usual rates, a frame lasts a whole number of them."""
_ROUNDED = 0.002
"""Seconds by which the times of frames may be inexact: Matroska and WebM round them to milliseconds."""
_CODECS = {"libx264": {"preset": "veryfast", "crf": "20"}, "mpeg4": {"qscale": "3"}}
"""Codecs of written videos and their options; the first that this FFmpeg has is taken. Browsers show H.264 only."""
_TURNS = {
    90: Image.Transpose.ROTATE_90,
    180: Image.Transpose.ROTATE_180,
    270: Image.Transpose.ROTATE_270,
}
"""Degrees against the clock -> what turns a frame upright."""


class VideoFrame(NamedTuple):
    """A frame of a video.

    Attributes:
        number: counted from 0, over all frames of the video.
        seconds: when it is shown, after the start of the video.
        picture: its pixels, RGB, upright.
    """

    number: int
    seconds: float
    picture: Image.Image


class VideoFacts(NamedTuple):
    """What the header of a video says.

    Attributes:
        frames: how many there are; None if the header does not tell.
        rate: frames per second.
    """

    frames: int | None
    rate: Fraction


def is_video(path: Path) -> bool:
    """Return whether the ending of a file is that of a video."""
    return path.suffix.lower() in VIDEO_EXTENSIONS


def describe_video(path: Path) -> VideoFacts:
    """Read the header of a video.

    Raises:
        InputError: if the file is missing or is no video.
        MissingExtraError: if PyAV is not installed.
    """
    with _opened(path) as (container, stream):
        rate = _rate(stream)
        seconds = _promised_seconds(container, stream)
        return VideoFacts(stream.frames or (None if seconds is None else round(seconds * rate)), rate)


def read_video(path: Path, *, every: int = 1) -> Iterator[VideoFrame]:
    """Give the frames of a video one by one.

    Args:
        path: the file.
        every: N gives only every Nth frame, beginning with the first one.

    Raises:
        InputError: if the file is missing, is no video, is damaged or ends too early. The frames before the fault have
            been given by then.
        MissingExtraError: if PyAV is not installed.
    """
    if every < 1:
        raise InputError(f"every={every}: must be a whole number of frames, at least 1")
    with _opened(path) as (container, stream):
        rate, number, end, is_damaged = _rate(stream), 0, 0.0, False
        for frame in _decode(path, container, stream):
            if frame is None:
                is_damaged = True
                continue
            seconds = float(number / rate) if frame.time is None else _after_start(frame, stream)
            if number % every == 0:
                yield VideoFrame(number, seconds, _upright(frame))
            number += 1
            end = seconds + float((frame.duration or 0) * (frame.time_base or 0))
        if is_damaged:
            raise InputError(f"{path}: is damaged; {number} frames could be read, some of them with faults")
        promised = _promised_seconds(container, stream)
        if not number or (promised is not None and promised - end > _MISSING_SECONDS):
            told = f" of {promised:.1f}" if promised else ""
            raise InputError(f"{path}: was cut off; {number} frames could be read, {end:.1f}{told} seconds")


def _decode(path: Path, container: Any, stream: Any) -> Iterator[Any]:  # noqa: ANN401 - PyAV is optional
    """Give PyAV's frames, and None where the file says that something is damaged.

    Raises:
        InputError: where nothing more can be read.
    """
    number = 0
    packets = iter(container.demux(stream))
    while True:
        try:
            packet = next(packets, None)
            frames = [] if packet is None else packet.decode()
        except (OSError, ValueError) as error:  # the bases of FFmpeg's errors
            raise InputError(f"{path}: cannot be read after {number} frames ({_reason(error)})") from error
        if packet is None:
            return
        if packet.is_corrupt or any(frame.is_corrupt for frame in frames):
            yield None
        yield from frames
        number += len(frames)


def _reason(error: Exception) -> str:
    return str(getattr(error, "strerror", None) or error)


@contextmanager
def _opened(path: Path) -> Generator[tuple[Any, Any]]:
    """Open a file, and return PyAV's container and its video stream."""
    if not path.is_file():
        raise InputError(f"{path}: no such video file")
    av = _pyav(path)
    try:
        container = av.open(str(path), metadata_errors="replace")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read as a video ({_reason(error)})") from error
    with container:
        if not container.streams.video:
            raise InputError(f"{path}: holds no video")
        stream = container.streams.video[0]
        limit = most_pixels()
        if limit is not None and stream.width * stream.height > limit:
            raise InputError(f"{path}: {stream.width}x{stream.height} pixels, but {PIXELS_VARIABLE} allows {limit}")
        stream.thread_type = "AUTO"
        yield container, stream


def _pyav(path: Path) -> Any:  # noqa: ANN401 - PyAV is optional
    try:
        return import_module("av")
    except ModuleNotFoundError as error:
        raise MissingExtraError(str(path), package="av", extra="video") from error


def _rate(stream: Any) -> Fraction:  # noqa: ANN401 - PyAV is optional
    return Fraction(stream.average_rate or stream.guessed_rate or 25)


def _after_start(frame: Any, stream: Any) -> float:  # noqa: ANN401 - PyAV is optional
    return float(frame.time - float((stream.start_time or 0) * stream.time_base))


def _promised_seconds(container: Any, stream: Any) -> float | None:  # noqa: ANN401 - PyAV is optional
    """Return how long the video lasts by its header; None if it does not say so for the pictures alone."""
    if stream.duration:
        return float(stream.duration * stream.time_base)
    is_alone = len(container.streams) == 1
    return container.duration / 1e6 if is_alone and container.duration else None


def _upright(frame: Any) -> Image.Image:  # noqa: ANN401 - PyAV is optional
    picture: Image.Image = frame.to_image()
    turn = _TURNS.get(round(frame.rotation) % 360)
    return picture if turn is None else picture.transpose(turn)


class VideoWriter:
    """Writes pictures as an MP4 file, as they come. Use it in a `with` block.

    All frames have the size of the first picture; an odd side gets one pixel more. Larger pictures are made smaller
    until they fit, and smaller ones get a black border.

    Args:
        path: the file.
        rate: frames per second.
    """

    def __init__(self, path: Path, *, rate: Fraction) -> None:
        self._av = _pyav(path)
        self._container = self._av.open(str(path), "w", format="mp4")
        self._rate = rate
        self._stream: Any = None
        self._size = (0, 0)
        self._first_seconds = 0.0
        self._last_tick = -1

    def __enter__(self) -> "VideoWriter":
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        try:
            if kind is None and self._stream is not None:
                self._container.mux(self._stream.encode(None))
        finally:
            self._container.close()

    def write(self, picture: Image.Image, *, seconds: float) -> None:
        """Add a picture that is shown at a time."""
        if self._stream is None:
            # Players want colours at half the resolution, which needs even sides.
            self._size = (picture.width + picture.width % 2, picture.height + picture.height % 2)
            self._first_seconds = seconds
            self._stream = self._add_stream(*self._size)
        if picture.size != self._size:
            is_larger = picture.width > self._size[0] or picture.height > self._size[1]
            whole = Image.new("RGB", self._size)
            whole.paste(ImageOps.contain(picture, self._size) if is_larger else picture)
            picture = whole
        frame = self._av.VideoFrame.from_image(picture)
        # Times must grow, whatever the video says.
        self._last_tick = max(self._last_tick + 1, self._tick(seconds - self._first_seconds))
        frame.pts, frame.time_base = self._last_tick, Fraction(1, _TICKS)
        self._container.mux(self._stream.encode(frame))

    def _tick(self, seconds: float) -> int:
        """Return a time in ticks. If it is that of a frame at the video's rate, up to rounding, it is exact."""
        exact = Fraction(round(seconds * self._rate)) / self._rate
        return round((exact if abs(float(exact) - seconds) < _ROUNDED else seconds) * _TICKS)

    def _add_stream(self, width: int, height: int) -> Any:  # noqa: ANN401 - PyAV is optional
        codec, options = next((name, options) for name, options in _CODECS.items() if name in self._av.codecs_available)
        stream = self._container.add_stream(codec, rate=self._rate, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.codec_context.time_base = stream.time_base = Fraction(1, _TICKS)
        return stream
