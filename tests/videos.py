"""Videos for tests: real files, written by FFmpeg."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np

RATE = Fraction(30000, 1001)


def frame_pixels(number: int, *, size: tuple[int, int] = (48, 64)) -> np.ndarray:
    """Return a picture whose brightness tells its number: 4 levels for each, up to 60 frames."""
    return np.full((*size, 3), 10 + 4 * number, np.uint8)


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    *,
    codec: str = "libx264",
    pixels: str = "yuv420p",
    rate: Fraction = RATE,
    options: dict[str, str] | None = None,
) -> Path:
    """Write pictures of even sides; every frame is a key frame."""
    height, width = pictures[0].shape[:2]
    with av.open(str(path), "w", options=options or {}) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height, stream.pix_fmt, stream.gop_size = width, height, pixels, 1
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def cut_off(path: Path, *, share: float) -> Path:
    """Return a copy of the first part of a file."""
    data = path.read_bytes()
    copy = path.with_stem(f"{path.stem}_cut")
    copy.write_bytes(data[: int(share * len(data))])
    return copy


def turn(path: Path) -> None:
    """Let the header of an MP4 file say that players turn the frames by 90 degrees with the clock, as phones do."""
    data = bytearray(path.read_bytes())
    # The matrix of 36 bytes stands 40 bytes behind the beginning of the content of the box tkhd, version 0.
    start = data.index(b"tkhd") + 4 + 40
    matrix = [0, 1 << 16, 0, -(1 << 16), 0, 0, 0, 0, 1 << 30]
    data[start : start + 36] = np.array(matrix, ">i4").tobytes()
    path.write_bytes(data)
