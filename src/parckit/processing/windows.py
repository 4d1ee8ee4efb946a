"""Segmentation of large pictures through overlapping windows, at several scales, and mirrored.

A view is the whole picture at one scale, mirrored or not. The network sees it through windows. Where windows overlap,
their logits are averaged, and then resized to the picture. If there are several views, their probabilities are
averaged. Then the most probable class wins.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from parckit.contract import InputError
from parckit.processing.limits import check_count
from parckit.processing.resizing import interpolate, interpolate_in_bands, neighbours, resized_places
from parckit.processing.segment import running_argmax
from parckit.processing.tiles import PIXEL_OVERLAP, TileSettings, tile_spans

_USUAL_TILES = TileSettings()
_BAND = 64
"""Rows of the picture that are averaged at once. All classes of the whole picture could need gigabytes."""
_LARGEST_SCALE = 8.0
"""Largest scale of a picture: it has 64 times the pixels."""
_LONGEST = 4
"""Longer side of a picture per `shorter_side`, at most; mmsegmentation's scale for ADE20K, (2048, 512), says the same.

A picture of 4 x 20,000 pixels would otherwise become one of 512 x 2,560,000."""
_MOST_PIXELS = 2**28
"""Pixels that an enlarged picture may have: 800 MB, and much more for the logits of a row of windows."""

Run = Callable[[Sequence[Image.Image]], Iterable[NDArray[np.float32]]]
"""Takes windows of equal size, and returns maps of logits (classes, h, w) for each."""


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowSettings:
    """How pictures are seen.

    Attributes:
        tiles: size and overlap of the windows. A picture that is smaller is filled up at its right and lower border.
        shorter_side: pictures are first resized so that their shorter side has this many pixels, and the longer side
            four times as many at most. None: they are not.
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

    @property
    def overlap(self) -> float:
        """Least share of a window that lies in the next one, too."""
        return PIXEL_OVERLAP if self.tiles.overlap is None else self.tiles.overlap

    def views(self, picture_size: tuple[int, int]) -> list[tuple[tuple[int, int], bool]]:
        """Return (height, width) of the picture in every view, pixels, and whether it is mirrored.

        Raises:
            InputError: if a view would have too many pixels.
        """
        height, width = picture_size
        base = 1.0
        if self.shorter_side is not None:
            base = min(self.shorter_side / min(picture_size), _LONGEST * self.shorter_side / max(picture_size))
        views: list[tuple[tuple[int, int], bool]] = []
        for factor in (base * scale for scale in self.scales):
            size = (max(1, round(height * factor)), max(1, round(width * factor)))
            if factor > 1 and size[0] * size[1] > _MOST_PIXELS:
                enlarged = f"a picture of {height}x{width} pixels, enlarged to {size[0]}x{size[1]}"
                raise InputError(f"{enlarged}: more than {_MOST_PIXELS:,} pixels; take smaller scales")
            views += [(size, is_mirrored) for is_mirrored in ((False, True) if self.flip else (False,))]
        return views


@dataclass(frozen=True, kw_only=True, slots=True)
class WindowedNetwork:
    """A network that segments, and the windows through which it sees pictures.

    Attributes:
        run: the network.
        classes: number of classes.
        window: (height, width) of a window, pixels.
        resample: filter that resizes pictures.
        fill: colour beside a picture that is smaller than a window.
    """

    run: Run
    classes: int
    window: tuple[int, int]
    resample: Image.Resampling
    fill: tuple[int, int, int]


def classes_in_windows(
    picture: Image.Image, network: WindowedNetwork, *, settings: WindowSettings
) -> NDArray[np.uint8]:
    """Return the class of every pixel of a picture.

    One view needs memory for the logits of a row of windows: classes x height of a window x width of the picture
    x 4 bytes. For 21 classes, windows of 512 pixels and a picture of 4,000 x 3,000 pixels, these are 170 MB, and 250 MB
    with all else. Several views also need the probabilities of the whole picture: classes x pixels x 4 bytes.

    Args:
        picture: upright RGB.
        network: the network.
        settings: overlap of the windows, scales, and whether the mirrored picture is seen, too.

    Raises:
        InputError: if a view would have too many pixels.

    Shape:
        returned: (H, W) of the picture
    """
    size = (picture.height, picture.width)
    winners = np.zeros(size, np.uint8)
    views = settings.views(size)
    if len(views) == 1:
        for first, band in _logits(picture, network, view=views[0], overlap=settings.overlap):
            running_argmax(band, out=winners[first : first + band.shape[1]])
        return winners
    total = np.zeros((network.classes, *size), np.float32)
    for view in views:
        for first, band in _logits(picture, network, view=view, overlap=settings.overlap):
            total[:, first : first + band.shape[1]] += _softmax(band)
    running_argmax(total, out=winners)
    return winners


def _logits(
    picture: Image.Image, network: WindowedNetwork, *, view: tuple[tuple[int, int], bool], overlap: float
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Yield the logits of the picture's pixels in one view: the number of the first row, and some rows, from the top.

    Shape:
        (classes, rows, W) each
    """
    (height, width), is_mirrored = view
    size = (picture.height, picture.width)
    seen = picture if (height, width) == size else picture.resize((width, height), network.resample)
    bands = _average(ImageOps.mirror(seen) if is_mirrored else seen, network, overlap=overlap)
    return _resize((band[..., ::-1] if is_mirrored else band for band in bands), (height, width), size)


def _average(picture: Image.Image, network: WindowedNetwork, *, overlap: float) -> Iterator[NDArray[np.float32]]:
    """Yield the logits of the pixels, averaged where windows overlap, some rows at a time, from the top.

    Shape:
        (classes, rows, W) each
    """
    rows = tile_spans(picture.height, network.window[0], overlap=overlap, evenly=False)
    columns = tile_spans(picture.width, network.window[1], overlap=overlap, evenly=False)
    times = _count_windows(rows, picture.height)[:, None], _count_windows(columns, picture.width)
    # The sums of the rows from `top` on. Rows that no further window reaches make room for the next ones.
    sums = np.zeros((network.classes, rows[0][1], picture.width), np.float32)
    for (top, bottom), following in zip(rows, [*rows[1:], None], strict=True):
        windows = [_cut(picture, (left, top), network) for left, _ in columns]
        for maps, (left, right) in zip(network.run(windows), columns, strict=True):
            _add(sums[:, :, left:right], maps, window=network.window)
        complete = (bottom if following is None else following[0]) - top
        for first in range(0, complete, _BAND):
            last = min(first + _BAND, complete)
            average = sums[:, first:last] / (times[0][top + first : top + last] * times[1])
            yield average.astype(np.float32, copy=False)
        for plane in sums:
            plane[: bottom - top - complete] = plane[complete:]
            plane[bottom - top - complete :] = 0


def _add(sums: NDArray[np.float32], maps: NDArray[np.float32], *, window: tuple[int, int]) -> None:
    """Resize the logits of a window, and add them to those of its part of the picture, up to the picture's borders.

    Shape:
        sums: (classes, rows, columns)
        maps: (classes, h, w)
    """
    _, height, width = sums.shape
    rows, columns = (resized_places(length, wanted) for length, wanted in zip(maps.shape[1:], window, strict=True))
    for first, last, planes in interpolate_in_bands(maps, rows=rows[:height], columns=columns[:width]):
        for number, plane in enumerate(planes):
            sums[number, first:last] += plane


def _count_windows(spans: Sequence[tuple[int, int]], length: int) -> NDArray[np.float32]:
    """Return the number of windows over every pixel of an axis."""
    counts = np.zeros(length, np.float32)
    for first, last in spans:
        counts[first:last] += 1
    return counts


def _cut(picture: Image.Image, corner: tuple[int, int], network: WindowedNetwork) -> Image.Image:
    """Return the window at a (left, top) corner of a picture. Beyond the picture's border it is filled up."""
    (left, top), (height, width) = corner, network.window
    part = picture.crop((left, top, min(left + width, picture.width), min(top + height, picture.height)))
    if part.size == (width, height):
        return part
    whole = Image.new("RGB", (width, height), network.fill)
    whole.paste(part)
    return whole


def _resize(
    bands: Iterable[NDArray[np.float32]], view_size: tuple[int, int], size: tuple[int, int]
) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """Resize the rows of a view to the picture bilinearly while they come.

    Yields:
        The number of the first row, and the rows of the picture that can be computed so far.

    Shape:
        (classes, rows, W) of the view -> (classes, rows, W) of the picture
    """
    if view_size == size:
        done = 0
        for band in bands:
            yield done, band
            done += band.shape[1]
        return
    rows, columns = (resized_places(length, wanted) for length, wanted in zip(view_size, size, strict=True))
    before, after, _ = neighbours(rows, view_size[0])
    # `known` are rows of the view from number `start` on; the first `done` rows of the picture are finished.
    known, start, done = np.zeros((0, 0, 0), np.float32), 0, 0
    for band in bands:
        wide = interpolate(band, columns, axis=2)
        known = np.concatenate([known, wide], axis=1) if known.size else wide
        # A row of the picture is ready when the second of its two rows of the view is known.
        ready = int(np.searchsorted(after, start + known.shape[1]))
        if ready > done:
            yield done, interpolate(known, rows[done:ready] - start, axis=1)
        if ready < size[0]:
            # If the view is much larger than the picture, the next row of the picture may need none of the known rows.
            dropped = min(int(before[ready]) - start, known.shape[1])
            known, start, done = known[:, dropped:], start + dropped, ready


def _softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the probabilities of the classes.

    Shape:
        (classes, H, W) -> (classes, H, W)
    """
    odds = np.exp(logits - logits.max(axis=0))
    return odds / odds.sum(axis=0)
