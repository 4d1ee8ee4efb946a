"""Finds image files that harm training or evaluation: broken, misnamed, tiny, rotated or duplicate files."""

import hashlib
import io
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Literal, cast

from PIL import ExifTags, Image

from parckit.contract import InputError, reading
from parckit.processing import FORMAT_OF_EXTENSION, IMAGE_EXTENSIONS, decode_image, readable_formats

SMALLEST = 32
"""An image is tiny if its shorter side has fewer pixels. The networks have a total stride of 32."""

Problem = Literal["broken", "wrong ending", "tiny", "rotated", "same bytes", "same pixels"]

_CHUNK = 16
"""Files that a thread takes at once: enough to make the overhead small, and few compared with a folder."""

_TURNED = range(2, 9)
"""EXIF orientations of images that are rotated or mirrored; 1 is upright."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result of reading one image file.

    Attributes:
        path: the file.
        broken: why it cannot be decoded. None if it can be decoded; only then the other attributes are known.
        format: Pillow's name for the format of the file's bytes.
        orientation: EXIF orientation; 1 if the image is upright or has no orientation.
        side: the shorter side, pixels.
        data: digest of the file's bytes.
        pixels: digest of the size and of the upright RGB pixels.
    """

    path: Path
    broken: str | None = None
    format: str = ""
    orientation: int = 1
    side: int = 0
    data: bytes = b""
    pixels: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A problem of a file.

    Attributes:
        path: the file.
        problem: kind of problem.
        detail: one line that describes it.
    """

    path: Path
    problem: Problem
    detail: str


def list_files(folder: Path) -> list[Path]:
    """Return all files in a folder and its subfolders, sorted. Files with any ending count: they may be images too.

    Links to folders are followed, as in training.

    Raises:
        InputError: if the folder does not exist or holds no file.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = (Path(parent) / name for parent, _, names in os.walk(folder, followlinks=True) for name in names)
    if not (files := sorted(path for path in paths if path.is_file())):
        raise InputError(f"{folder}: holds no files")
    return files


def inspect_files(files: Sequence[Path], *, threads: int) -> Iterator[Inspection | None]:
    """Read and decode files in parallel; yield the results in the order of the files. None means: not an image.

    Threads are enough: reading, decoding and hashing release Python's global lock.
    """
    with ThreadPool(threads) as pool:
        yield from pool.imap(inspect_file, files, chunksize=_CHUNK)


def inspect_file(path: Path) -> Inspection | None:
    """Read and decode a file. Return None if neither its ending nor its bytes are those of an image."""
    try:
        data = path.read_bytes()
        image = decode_image(data, name=str(path))
    except (InputError, OSError) as error:
        is_image = path.suffix.lower() in FORMAT_OF_EXTENSION
        reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")
        return Inspection(path=path, broken=reason) if is_image else None
    with reading(str(path)), Image.open(io.BytesIO(data), formats=readable_formats()) as header:
        stored = cast("str", header.format)
        orientation = cast("int", header.getexif().get(ExifTags.Base.Orientation, 1))
    pixels = hashlib.sha256(f"{image.size}".encode())
    pixels.update(image.tobytes())
    return Inspection(
        path=path,
        # MPO means several JPEGs in one file; some phones write it.
        format="JPEG" if stored == "MPO" else stored,
        orientation=orientation,
        side=min(image.size),
        data=hashlib.sha256(data).digest(),
        pixels=pixels.digest(),
    )


def find_problems(inspections: Iterable[Inspection], *, smallest: int = SMALLEST) -> list[Finding]:
    """Return the problems in the order of the inspections. The first of several equal files is not reported."""
    findings: list[Finding] = []
    first_bytes: dict[bytes, Path] = {}
    first_pixels: dict[bytes, Path] = {}
    for inspection in inspections:
        if inspection.broken is not None:
            findings.append(Finding(path=inspection.path, problem="broken", detail=inspection.broken))
            continue
        findings += _problems_of_one(inspection, smallest=smallest)
        same_bytes = first_bytes.setdefault(inspection.data, inspection.path)
        same_pixels = first_pixels.setdefault(inspection.pixels, inspection.path)
        if same_bytes is not inspection.path:
            findings.append(Finding(path=inspection.path, problem="same bytes", detail=f"as {same_bytes}"))
        elif same_pixels is not inspection.path:
            findings.append(Finding(path=inspection.path, problem="same pixels", detail=f"as {same_pixels}"))
    return findings


def _problems_of_one(inspection: Inspection, *, smallest: int) -> Iterator[Finding]:
    """Yield the problems that show without a look at other files."""
    finding = partial(Finding, path=inspection.path)
    ending = inspection.path.suffix.lower()
    promised = FORMAT_OF_EXTENSION.get(ending)
    if promised is None:
        detail = f"{inspection.format} image, not read because it does not end in {', '.join(IMAGE_EXTENSIONS)}"
        yield finding(problem="wrong ending", detail=detail)
    elif promised != inspection.format:
        yield finding(problem="wrong ending", detail=f"{inspection.format} image")
    if inspection.side < smallest:
        yield finding(problem="tiny", detail=f"shorter side of {inspection.side} pixels")
    if inspection.orientation in _TURNED:
        detail = f"EXIF orientation {inspection.orientation}: parckit applies it, other tools may not"
        yield finding(problem="rotated", detail=detail)
