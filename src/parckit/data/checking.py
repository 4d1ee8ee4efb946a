"""Looking for image files that would spoil a training or its test: broken, misnamed, tiny, rotated, or there twice."""

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

from parckit.contract import InputError
from parckit.processing import FORMAT_OF_EXTENSION, IMAGE_EXTENSIONS, IMAGE_FORMATS, decode_image

SMALLEST = 32
"""Shorter side, pixels, below which an image is called tiny: the nets reduce by 32, so less is not one position."""

Problem = Literal["broken", "wrong ending", "tiny", "rotated", "same bytes", "same pixels"]

_CHUNK = 16  # files handed to a thread at once: little beside a folder, much beside the handing

_TURNED = range(2, 9)  # EXIF orientations with a meaning, but for 1: as it is


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """What one file was found to be.

    Attributes:
        path: the file.
        broken: why it cannot be decoded; None if it can, and only then the rest is known.
        format: Pillow's name of the format of its bytes.
        orientation: EXIF's, 1 for an upright image or one that does not say.
        side: the shorter one, pixels.
        data: digest of its bytes.
        pixels: digest of its upright RGB pixels and size.
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
    """Something wrong with a file.

    Attributes:
        path: the file.
        problem: what kind.
        detail: one line on it.
    """

    path: Path
    problem: Problem
    detail: str


def list_files(folder: Path) -> list[Path]:
    """Return all files of a folder and of all folders in it, sorted: images may hide behind any ending.

    Links to folders are followed, as by training.

    Raises:
        InputError: if there is no such folder, or no file in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    below = (Path(place) / name for place, _, names in os.walk(folder, followlinks=True) for name in names)
    if not (files := sorted(path for path in below if path.is_file())):
        raise InputError(f"{folder}: holds no files")
    return files


def inspect_files(files: Sequence[Path], *, threads: int) -> Iterator[Inspection | None]:
    """Read and decode files in parallel, giving the results in their order; None stands for what is no image.

    Threads serve: reading, decoding and hashing leave Python's lock to others.
    """
    with ThreadPool(threads) as pool:
        yield from pool.imap(inspect_file, files, chunksize=_CHUNK)


def inspect_file(path: Path) -> Inspection | None:
    """Read and decode a file; None if neither its ending nor its bytes are those of an image."""
    try:
        data = path.read_bytes()
        image = decode_image(data, name=str(path))
    except (InputError, OSError) as error:
        is_image = path.suffix.lower() in FORMAT_OF_EXTENSION
        reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")
        return Inspection(path=path, broken=reason) if is_image else None
    with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as header:
        stored = cast("str", header.format)
        orientation = cast("int", header.getexif().get(ExifTags.Base.Orientation, 1))
    pixels = hashlib.sha256(f"{image.size}".encode())
    pixels.update(image.tobytes())
    return Inspection(
        path=path,
        format="JPEG" if stored == "MPO" else stored,  # several JPEGs in one file, as some telephones make
        orientation=orientation,
        side=min(image.size),
        data=hashlib.sha256(data).digest(),
        pixels=pixels.digest(),
    )


def find_problems(inspections: Iterable[Inspection], *, smallest: int = SMALLEST) -> list[Finding]:
    """Say what is wrong, in the order of the inspections; of equal files all but the first are told."""
    findings: list[Finding] = []
    first_bytes: dict[bytes, Path] = {}
    first_pixels: dict[bytes, Path] = {}
    for inspection in inspections:
        if inspection.broken is not None:
            findings.append(Finding(path=inspection.path, problem="broken", detail=inspection.broken))
            continue
        findings += _own_problems(inspection, smallest=smallest)
        same_bytes = first_bytes.setdefault(inspection.data, inspection.path)
        same_pixels = first_pixels.setdefault(inspection.pixels, inspection.path)
        if same_bytes is not inspection.path:
            findings.append(Finding(path=inspection.path, problem="same bytes", detail=f"as {same_bytes}"))
        elif same_pixels is not inspection.path:
            findings.append(Finding(path=inspection.path, problem="same pixels", detail=f"as {same_pixels}"))
    return findings


def _own_problems(inspection: Inspection, *, smallest: int) -> Iterator[Finding]:
    finding = partial(Finding, path=inspection.path)
    ending = inspection.path.suffix.lower()
    promised = FORMAT_OF_EXTENSION.get(ending)
    if promised is None:
        unread = f"{inspection.format} image, unread for not ending in {', '.join(IMAGE_EXTENSIONS)}"
        yield finding(problem="wrong ending", detail=unread)
    elif promised != inspection.format:
        yield finding(problem="wrong ending", detail=f"{inspection.format} image")
    if inspection.side < smallest:
        yield finding(problem="tiny", detail=f"shorter side of {inspection.side} pixels")
    if inspection.orientation in _TURNED:
        detail = f"EXIF orientation {inspection.orientation}: honoured by parckit, other tools may not"
        yield finding(problem="rotated", detail=detail)
