"""Finds images that harm training or evaluation: broken, misnamed, tiny, rotated, duplicate or left-out files."""

import hashlib
import io
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import cast

from PIL import ExifTags, Image

from parckit.contract import InputError, reading, sha256_of
from parckit.data.checklist import Checklist, Member
from parckit.data.similar import MOST, find_similar, fingerprint
from parckit.processing import (
    FORMAT_OF_EXTENSION,
    IMAGE_EXTENSIONS,
    decode_image,
    find_format,
    load_image,
    readable_formats,
)

SMALLEST = 32
"""An image is tiny if its shorter side has fewer pixels. The networks have a total stride of 32."""

_CHUNK = 16
"""Files that a thread takes at once: enough to make the overhead small, and few compared with a folder."""

_LARGE = 64 << 20
"""Bytes. Smaller files are held in memory, so that they are read only once."""

_TURNED = range(2, 9)
"""EXIF orientations of images that are rotated or mirrored; 1 is upright."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Inspection:
    """The result of reading one image.

    Attributes:
        member: the image.
        broken: why it cannot be decoded. None if it can be decoded; only then the other attributes are known.
        format: Pillow's name for the format of the bytes.
        orientation: EXIF orientation; 1 if the image is upright or has no orientation.
        side: the shorter side, pixels.
        data: digest of the bytes.
        pixels: digest of the size and of the upright RGB pixels.
        look: what similar pictures are found by.
    """

    member: Member
    broken: str | None = None
    format: str = ""
    orientation: int = 1
    side: int = 0
    data: bytes = b""
    pixels: bytes = b""
    look: bytes = b""


@dataclass(frozen=True, kw_only=True, slots=True)
class Finding:
    """A problem of a file.

    Attributes:
        path: the file, or `SHARD:KEY`.
        problem: kind of problem.
        detail: one line that describes it.
    """

    path: Path
    problem: str
    detail: str


def inspect(members: Sequence[Member], *, threads: int) -> Iterator[Inspection | None]:
    """Read and decode images in parallel; yield the results in the order of the members. None means: not an image.

    Threads are enough: reading, decoding and hashing release Python's global lock.
    """
    with ThreadPool(threads) as pool:
        yield from pool.imap(_inspect, members, chunksize=_CHUNK)


def _inspect(member: Member) -> Inspection | None:
    """Read and decode an image. Return None if neither its ending nor its bytes are those of an image."""
    path = member.path
    is_image = bool(member.split) or path.suffix.lower() in FORMAT_OF_EXTENSION
    try:
        # A file that is no image is not read whole.
        if not is_image and find_format(path) is None:
            return None
        # A large file is read bit by bit, as training does.
        is_large = path.is_file() and path.stat().st_size > _LARGE
        data = b"" if is_large else member.read()
        image = load_image(path) if is_large else decode_image(data, name=str(path))
        digest = bytes.fromhex(sha256_of(path)) if is_large else hashlib.sha256(data).digest()
    except (InputError, OSError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error).removeprefix(f"{path}: ")
        return Inspection(member=member, broken=reason) if is_image else None
    encoded = path if is_large else io.BytesIO(data)
    with reading(str(path)), Image.open(encoded, formats=readable_formats()) as header:
        stored = cast("str", header.format)
        orientation = cast("int", header.getexif().get(ExifTags.Base.Orientation, 1))
    pixels = hashlib.sha256(f"{image.size}".encode())
    pixels.update(image.tobytes())
    return Inspection(
        member=member,
        # MPO means several JPEGs in one file; some phones write it.
        format="JPEG" if stored == "MPO" else stored,
        orientation=orientation,
        side=min(image.size),
        data=digest,
        pixels=pixels.digest(),
        look=fingerprint(image),
    )


def find_hidden_images(checklist: Checklist) -> list[Finding]:
    """Return what training does not see: splits that it cannot use, misplaced files, images with unknown endings."""
    findings = [Finding(path=path, problem="refused", detail=refusal) for refusal, path in checklist.refusals.items()]
    findings += [
        Finding(path=Path(entry.path), problem="left out", detail=entry.detail) for entry in checklist.misplaced
    ]
    others = [Path(entry.path) for entry in checklist.left_out if entry.cause == "ending"]
    accepted = f"not read because it does not end in {', '.join(IMAGE_EXTENSIONS)}"
    findings += [
        Finding(path=path, problem="wrong ending", detail=f"image, {accepted}")
        for path in others
        if find_format(path) is not None
    ]
    return findings


def find_problems(inspections: Sequence[Inspection], *, smallest: int = SMALLEST) -> list[Finding]:
    """Return the problems in the order of the inspections. The first of several equal images is not reported."""
    findings: list[Finding] = []
    first_bytes: dict[bytes, Member] = {}
    first_pixels: dict[bytes, Member] = {}
    likeness = _likeness(inspections)
    for inspection in inspections:
        member = inspection.member
        finding = partial(Finding, path=member.path)
        if inspection.broken is not None:
            findings.append(finding(problem="broken", detail=inspection.broken))
            continue
        findings += _problems_of_one(inspection, smallest=smallest)
        same_bytes = first_bytes.setdefault(inspection.data, member)
        same_pixels = first_pixels.setdefault(inspection.pixels, member)
        if same_bytes is not member:
            findings.append(finding(problem="same bytes", detail=_compared(member, same_bytes)))
        elif same_pixels is not member:
            findings.append(finding(problem="same pixels", detail=_compared(member, same_pixels)))
        elif (alike := likeness.get(member)) is not None:
            findings.append(finding(problem="looks alike", detail=_compared(member, alike)))
    return findings


def _compared(member: Member, other: Member) -> str:
    """Return the words for a copy: where the first one is, and whether the two contradict each other."""
    differing = [name for name in ("label", "split") if getattr(member, name) != getattr(other, name)]
    names = {"label": "class", "split": "split"}
    where = "".join(f", in another {names[name]}" for name in differing)
    return f"as {other.path}{where}"


def _likeness(inspections: Sequence[Inspection]) -> dict[Member, Member]:
    """Return image -> an image before it that looks alike. A large source is not searched.

    Tiny images are left out: a fingerprint has nearly as many pixels as they have, so different ones look alike.
    """
    compared = [inspection for inspection in inspections if inspection.broken is None and inspection.side >= SMALLEST]
    if not compared or len(compared) > MOST:
        return {}
    pairs = find_similar([inspection.look for inspection in compared])
    return {compared[index].member: compared[first].member for index, first in pairs}


def _problems_of_one(inspection: Inspection, *, smallest: int) -> Iterator[Finding]:
    """Yield the problems that show without a look at other files."""
    path = inspection.member.path
    finding = partial(Finding, path=path)
    # A shard's keys have no ending; a list may name files of any ending.
    promised = inspection.format if inspection.member.split else None
    promised = FORMAT_OF_EXTENSION.get(path.suffix.lower(), promised)
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
