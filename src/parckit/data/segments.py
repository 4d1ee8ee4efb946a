"""Masks as files of labels hold them: polygons, or runs of pixels (RLE)."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple, Protocol, cast

import numpy as np
from numpy.typing import NDArray

from parckit.contract import MissingExtraError

Segment = Any
"""A mask as a file holds it: a list of polygons [x1, y1, x2, y2, ...], or a mapping with the keys size and counts."""

Runs = Any
"""The library's own form of runs of pixels."""

_SMALLEST_POLYGON = 6
"""Numbers in a polygon of three points."""

_REACH = 2
"""A point may lie outside of the picture, but not farther than this many times its longer side. A polygon is filled
pixel by pixel, so a broken number would fill the memory."""


class _MaskFunctions(Protocol):
    """The functions for masks of `faster_coco_eval`, which are those of pycocotools."""

    def frPyObjects(self, segment: Segment, height: int, width: int) -> Runs: ...  # noqa: N802 - the library's name

    def merge(self, runs: Runs) -> Runs: ...

    def area(self, runs: Runs) -> int: ...

    def decode(self, runs: Runs) -> NDArray[np.uint8]: ...

    def encode(self, mask: NDArray[np.uint8]) -> Runs: ...


class Checked(NamedTuple):
    """A segment after a check.

    Attributes:
        segment: its usable part; None if there is none.
        problem: what is wrong with it, or empty.
    """

    segment: Segment | None
    problem: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Segments:
    """Many segments in one array. A list of objects would be copied into the memory of every worker.

    Attributes:
        data: the segments as JSON, one after the other.
        starts: where every segment begins in `data`, and where the last one ends.

    Shape:
        data: (bytes,)
        starts: (N + 1,)
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]

    def __getitem__(self, index: int) -> Segment:
        """Return segment `index`."""
        return json.loads(self.data[self.starts[index] : self.starts[index + 1]].tobytes())


def pack_segments(segments: Sequence[Segment]) -> Segments:
    """Put segments into one array."""
    texts = [json.dumps(segment, separators=(",", ":")).encode() for segment in segments]
    starts = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return Segments(data=np.frombuffer(b"".join(texts), dtype=np.uint8), starts=starts)


def check_segment(segment: Segment | None, *, width: int, height: int) -> Checked:
    """Return the usable part of a segment, and what is wrong with it.

    Args:
        segment: polygons or runs; None or empty if the object has no mask.
        width: width of the picture that the segment belongs to, pixels.
        height: its height.
    """
    if not segment:
        return Checked(None, "has no mask")
    if isinstance(segment, list):
        polygons = cast("list[object]", segment)
        usable = [polygon for polygon in polygons if _is_polygon(polygon, limit=_REACH * max(width, height))]
        problem = "" if len(usable) == len(polygons) else "has a polygon with less than 3 points near the picture"
        return _check_pixels(usable, problem, width=width, height=height)
    if not isinstance(segment, dict) or not isinstance(counts := segment.get("counts"), list | str):
        return Checked(None, "has a mask that is neither polygons nor runs with size and counts")
    if segment.get("size") != [height, width]:
        return Checked(None, f"has a mask of [height, width] {segment.get('size')!r:.40}, not {[height, width]}")
    if isinstance(counts, list) and not _fills(cast("list[object]", counts), width * height):
        return Checked(None, "has a mask whose runs do not fill the picture")
    return _check_pixels({"size": [height, width], "counts": counts}, "", width=width, height=height)


def _check_pixels(segment: Segment, problem: str, *, width: int, height: int) -> Checked:
    """Return the segment and its problem; no segment if it cannot be decoded or has no pixel of the picture."""
    if not segment:
        return Checked(None, problem)
    try:
        if isinstance(segment, list):
            # Polygons cannot be broken, and counting their pixels takes a twentieth of the time of decoding them.
            has_pixels = mask_functions().area(_runs(segment, width=width, height=height)) > 0
        else:
            has_pixels = decode_segment(segment, width=width, height=height).any()
    except ValueError as error:
        return Checked(None, f"has {error}")
    return Checked(segment, problem) if has_pixels else Checked(None, problem or "has a mask without any pixel")


def _is_polygon(polygon: object, *, limit: int) -> bool:
    if not isinstance(polygon, list):
        return False
    numbers = cast("list[object]", polygon)
    is_long = len(numbers) >= _SMALLEST_POLYGON and len(numbers) % 2 == 0
    return is_long and all(isinstance(number, int | float) and abs(number) <= limit for number in numbers)


def _fills(counts: list[object], pixels: int) -> bool:
    runs = [count for count in counts if isinstance(count, int) and count >= 0]
    return len(runs) == len(counts) and sum(runs) == pixels


def decode_segment(segment: Segment, *, width: int, height: int) -> NDArray[np.bool_]:
    """Return the pixels of a segment that `check_segment` returned.

    Raises:
        ValueError: if compressed runs are broken.

    Shape:
        (H, W)
    """
    try:
        return mask_functions().decode(_runs(segment, width=width, height=height)).astype(np.bool_)
    except (RuntimeError, TypeError, IndexError, ValueError) as error:
        raise ValueError(f"a mask that cannot be decoded ({error})") from error


def _runs(segment: Segment, *, width: int, height: int) -> Runs:
    functions = mask_functions()
    if isinstance(segment, list):
        return functions.merge(functions.frPyObjects(segment, height, width))
    if isinstance(segment["counts"], list):
        return functions.frPyObjects(segment, height, width)
    return {"size": [height, width], "counts": segment["counts"].encode()}


def encode_mask(mask: NDArray[np.bool_]) -> Mapping[str, object]:
    """Return the pixels of an object as compressed runs, as files hold them.

    Shape:
        mask: (H, W)
    """
    runs = mask_functions().encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode()}


def mask_functions() -> _MaskFunctions:
    """Return the functions for masks.

    Raises:
        MissingExtraError: if the package is missing.
    """
    try:
        return cast("_MaskFunctions", import_module("faster_coco_eval.core.mask"))
    except ModuleNotFoundError as error:
        raise MissingExtraError("masks in COCO files", package="faster-coco-eval", extra="eval") from error
