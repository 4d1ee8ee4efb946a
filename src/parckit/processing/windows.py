"""Segmentation of large pictures through overlapping windows, at several scales, and mirrored.

Where windows overlap, their logits are averaged. The probabilities of several scales, and of the mirrored picture, are
averaged, too. Then the most probable class wins.
"""

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from parckit.contract import InputError
from parckit.processing.limits import check_count
from parckit.processing.segment import linear_places, resize_in_bands, running_argmax
from parckit.processing.tiles import TileSettings

_USUAL_TILES = TileSettings()
_BAND = 64
"""Rows of the picture that are averaged at once. All classes of the whole picture could need gigabytes."""
_LARGEST_SCALE = 8.0
"""Largest scale of a picture: it has 64 times the pixels."""

Run = Callable[[Sequence[Image.Image]], Iterable[NDArray[np.float32]]]
"""Takes windows of equal size, and returns maps of logits (classes, h, w) for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """How pictures are seen.

    Attributes:
        tiles: size and overlap of the windows. A picture that is smaller is filled up at its right and lower border.
        shorter_side: pictures are first resized so that their shorter side has this many pixels; None: they are not.
        scales: further factors, one after the other, by which the picture is resized.
        flip: every scale is also seen mirrored, left to right.

    Raises:
        InputError: if a value is out of range.
    """

    tiles: TileSettings = _USUAL_TILES
    shorter_side: int | None = None
    scales: tuple[float, ...] = (1.0,)
    flip: bool = False

    def __post_init__(self) -> None:
        if self.shorter_side is not None:
            check_count("shorter_side", self.shorter_side, of="pixels")
        if not self.scales or not all(0 < scale <= _LARGEST_SCALE for scale in self.scales):
            raise InputError(f"scales={list(self.scales)}: must be factors above 0, up to {_LARGEST_SCALE:g}")

    def views(self, picture_size: tuple[int, int]) -> list[tuple[tuple[int, int], bool]]:
        """Return (height, width) of the picture in every view, pixels, and whether it is mirrored."""
        base = 1.0 if self.shorter_side is None else self.shorter_side / min(picture_size)
        height, width = picture_size
        factors = [base * scale for scale in self.scales]
        sizes = [(max(1, round(height * factor)), max(1, round(width * factor))) for factor in factors]
        return [(size, is_mirrored) for size in sizes for is_mirrored in ((False, True) if self.flip else (False,))]


def classes_in_windows(
    picture: Image.Image,
    run: Run,
    *,
    classes: int,
    window: tuple[int, int],
    settings: WindowSettings,
    resample: Image.Resampling,
    fill: tuple[int, int, int],
) -> NDArray[np.uint8]:
    """Return the class of every pixel of a picture.

    One view needs memory for the logits of a row of windows: classes x height of a window x width of the picture
    x 4 bytes. For 21 classes, windows of 512 pixels and a picture of 4,000 x 3,000 pixels, these are 170 MB, and 250 MB
    with all else. Several views also need the probabilities of the whole picture: classes x pixels x 4 bytes.

    Args:
        picture: upright RGB.
        run: the network.
        classes: number of classes.
        window: (height, width) of a window, pixels.
        settings: overlap of the windows, scales, and whether the mirrored picture is seen, too.
        resample: filter for the scales.
        fill: colour beside a picture that is smaller than a window.

    Shape:
        returned: (H, W) of the picture
    """
    size = (picture.height, picture.width)
    views = settings.views(size)
    winners = np.zeros(size, np.uint8)
    total = np.zeros((classes, *size), np.float32) if len(views) > 1 else None
    for view_size, is_mirrored in views:
        seen = picture if view_size == size else picture.resize((view_size[1], view_size[0]), resample)
        seen = ImageOps.mirror(seen) if is_mirrored else seen
        rows = _look(seen, run, classes=classes, window=window, overlap=settings.tiles.overlap, fill=fill)
        rows = (band[..., ::-1] for band in rows) if is_mirrored else rows
        for first, band in _resize_rows(rows, view_size, size):
            last = first + band.shape[1]
            if total is None:
                running_argmax(band, out=winners[first:last])
            else:
                total[:, first:last] += _softmax(band)
    if total is not None:
        running_argmax(total, out=winners)
    return winners


def window_spans(length: int, window: int, *, overlap: float) -> list[tuple[int, int]]:
    """Return first and last pixel + 1 of the windows along an axis.

    They lie one step apart. The last one is moved back, so that it ends with the picture.

    Args:
        length: of the picture, pixels.
        window: of a window. If the picture is shorter, there is one window, which ends with the picture.
        overlap: least share of a window that lies in the next one, too.
    """
    step = max(1, int(window * (1 - overlap)))
    count = 1 + max(0, math.ceil((length - window) / step))
    starts = [max(0, min(number * step, length - window)) for number in range(count)]
    return [(start, min(start + window, length)) for start in starts]


def _look(
    picture: Image.Image,
    run: Run,
    *,
    classes: int,
    window: tuple[int, int],
    overlap: float,
    fill: tuple[int, int, int],
) -> Iterator[NDArray[np.float32]]:
    """Yield the average logits of the pixels, some rows at a time, from the top.

    Shape:
        (classes, rows, W) each
    """
    rows = window_spans(picture.height, window[0], overlap=overlap)
    columns = window_spans(picture.width, window[1], overlap=overlap)
    times = [_count_windows(rows, picture.height)[:, None], _count_windows(columns, picture.width)]
    sums = np.zeros((classes, rows[0][1], picture.width), np.float32)
    for (top, bottom), following in zip(rows, [*rows[1:], None], strict=True):
        tiles = [_cut(picture, (left, top), window, fill=fill) for left, _ in columns]
        for maps, (left, right) in zip(run(tiles), columns, strict=True):
            _add_resized(sums[:, :, left:right], maps, window=window)
        # The rows above the next windows are complete.
        complete = (bottom if following is None else following[0]) - top
        for first in range(0, complete, _BAND):
            last = min(first + _BAND, complete)
            average = sums[:, first:last] / (times[0][top + first : top + last] * times[1])
            yield average.astype(np.float32, copy=False)
        for plane in sums:
            plane[: bottom - top - complete] = plane[complete:]
            plane[bottom - top - complete :] = 0


def _add_resized(sums: NDArray[np.float32], maps: NDArray[np.float32], *, window: tuple[int, int]) -> None:
    """Add the logits of a window to those of its part of the picture. What lies beyond the picture is left out.

    Shape:
        sums: (classes, rows, columns)
        maps: (classes, h, w)
    """
    for first, last, planes in resize_in_bands(maps, window):
        part = sums[:, first:last]
        for number, plane in enumerate(planes):
            part[number] += plane[: part.shape[1], : part.shape[2]]


def _count_windows(spans: Sequence[tuple[int, int]], length: int) -> NDArray[np.float32]:
    """Return the number of windows over every pixel of an axis."""
    counts = np.zeros(length, np.float32)
    for first, last in spans:
        counts[first:last] += 1
    return counts


def _cut(
    picture: Image.Image, corner: tuple[int, int], window: tuple[int, int], *, fill: tuple[int, int, int]
) -> Image.Image:
    """Return a window of a picture; beyond its right and lower border there is the colour `fill`."""
    (left, top), (height, width) = corner, window
    box = (left, top, min(left + width, picture.width), min(top + height, picture.height))
    part = picture.crop(box)
    if part.size == (width, height):
        return part
    whole = Image.new("RGB", (width, height), fill)
    whole.paste(part)
    return whole


def _resize_rows(
    bands: Iterable[NDArray[np.float32]], view_size: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Resize rows bilinearly while they come.

    Yields:
        The first row and the rows of the picture that can be computed so far.

    Shape:
        (classes, rows, W) of the view -> (classes, rows, W) of the picture
    """
    if view_size == size:
        done = 0
        for band in bands:
            yield done, band
            done += band.shape[1]
        return
    above, below, share = linear_places(view_size[0], size[0])
    left, right, share_right = linear_places(view_size[1], size[1])
    kept: NDArray[np.float32] | None = None
    start = done = 0
    for band in bands:
        wide = band if view_size[1] == size[1] else _between(band, left, right, share_right)
        known = wide if kept is None else np.concatenate([kept, wide], axis=1)
        ready = int(np.searchsorted(below, start + known.shape[1]))
        if ready > done:
            rows = slice(done, ready)
            upright = known.swapaxes(1, 2)
            yield done, _between(upright, above[rows] - start, below[rows] - start, share[rows]).swapaxes(1, 2)
        if ready < size[0]:
            kept = known[:, above[ready] - start :]
            start, done = int(above[ready]), ready


def _between(
    values: NDArray[np.float32], before: NDArray[np.int64], after: NDArray[np.int64], share: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return the values at places between those along the last axis."""
    between = values[..., before] * (1 - share) + values[..., after] * share
    return between.astype(np.float32, copy=False)


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the classes.

    Shape:
        (classes, H, W) -> (classes, H, W)
    """
    odds = np.exp(logits - logits.max(axis=0))
    return odds / odds.sum(axis=0)
