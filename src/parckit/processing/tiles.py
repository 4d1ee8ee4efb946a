"""Large pictures in overlapping tiles: where the tiles lie, and one answer from the answers for all of them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.processing.boxes import box_areas
from parckit.processing.detect import BoxPrediction, best_boxes
from parckit.processing.limits import check_count
from parckit.processing.masks import BoxMasks

Window = tuple[int, int, int, int]
"""A part of a picture: (left, top, right, bottom), pixels."""

BOX_OVERLAP = 0.2
"""Overlap of tiles for detectors. Of an object that is larger than the overlap, tiles may show only parts."""
PIXEL_OVERLAP = 1 / 3
"""Overlap of tiles for networks that segment: tiles of 512 pixels lie 341 pixels apart, as in papers on ADE20K."""
_LARGEST_OVERLAP = 0.9
"""With a larger overlap there would be more than a hundred tiles over every pixel."""
_SAME = 0.5
"""Two boxes show the same object if their IoU is larger, inside of what both windows show.

A box of the whole picture that a tile shows completely only needs a larger share of the smaller box."""
_NEAR = 0.02
"""A box that comes so near to the border of its tile, as a share of the tile's side, may be cut there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TileSettings:
    """How large pictures are cut into tiles.

    Attributes:
        size: (height, width) of a tile, pixels of the picture; None takes the size of the network's input.
        overlap: least share of its sides by which a tile overlaps the next one. Objects up to this size lie completely
            in some tile. None takes 0.2 for boxes, and a third for the classes of pixels, as published evaluations do.

    Raises:
        InputError: if a value is out of range.
    """

    size: tuple[int, int] | None = None
    overlap: float | None = None

    def __post_init__(self) -> None:
        for side in self.size or ():
            check_count("tiles", side, of="pixels")
        if self.overlap is not None and not 0 <= self.overlap <= _LARGEST_OVERLAP:
            raise InputError(f"tile overlap {self.overlap}: must be a share from 0 to {_LARGEST_OVERLAP}")


def cut_tiles(picture_size: tuple[int, int], *, size: tuple[int, int], overlap: float) -> list[Window]:
    """Return tiles that cover a picture, row by row. They lie evenly, and none reaches beyond the picture.

    Args:
        picture_size: (height, width) of the picture, pixels.
        size: (height, width) of a tile; a smaller picture has one tile, the whole picture.
        overlap: least share of its sides by which a tile overlaps the next one.
    """
    rows, columns = (
        tile_spans(*lengths, overlap=overlap, evenly=True) for lengths in zip(picture_size, size, strict=True)
    )
    return [(left, top, right, bottom) for top, bottom in rows for left, right in columns]


def tile_spans(length: int, tile: int, *, overlap: float, evenly: bool) -> list[tuple[int, int]]:
    """Return first and last pixel + 1 of the tiles along an axis. They are as few as the overlap allows.

    Args:
        length: of the picture, pixels.
        tile: length of a tile, pixels. If the picture is shorter, there is one tile, which ends with the picture.
        overlap: least share of a tile that lies in the next one, too.
        evenly: all tiles overlap by about the same length, which may be more than `overlap`. Otherwise they lie one
            step apart, and the last one is moved back, so that it ends with the picture: published evaluations of
            segmentation do so.
    """
    # The largest step of whole pixels. Without rounding, 100 * (1 - 0.9) would be a bit less than 10, and the step 9.
    step = max(1, math.floor(round(tile * (1 - overlap), 6)))
    room = max(0, length - tile)
    count = 1 + math.ceil(room / step)
    if evenly:
        starts = [round(number * room / max(1, count - 1)) for number in range(count)]
    else:
        starts = [min(number * step, room) for number in range(count)]
    return [(start, min(start + tile, length)) for start in starts]


def merge_tiles(
    answers: Sequence[BoxPrediction], windows: Sequence[Window], *, picture_size: tuple[int, int]
) -> BoxPrediction:
    """Move the boxes of tiles to their picture, and merge those that show the same object.

    Two boxes of a class from different windows show the same object if they overlap inside of the part of the picture
    that both windows show. So the part of an object in one tile is compared with the same part of it in another tile.
    A box that is complete in its tile is kept in place of one that a tile's border cuts. If all boxes of an object are
    cut, they are joined. A window may be the whole picture. Its boxes are inexact, because it is seen small: they are
    replaced by the complete boxes of tiles, except for boxes that are larger than a tile.

    Args:
        answers: what was found in every window, in pixels of the window; at least one.
        windows: where they lie.
        picture_size: (height, width) of the picture, pixels.
    """
    labels = np.concatenate([answer.labels for answer in answers])
    places = np.repeat(np.array(windows, np.float32).reshape(-1, 4), [len(answer) for answer in answers], axis=0)
    boxes = np.concatenate([answer.boxes for answer in answers]) + places[:, [0, 1, 0, 1]]
    scores = np.concatenate([answer.scores for answer in answers])
    masks = _moved_masks(answers, windows, picture_size=picture_size)
    is_cut = _are_cut(boxes, places, picture_size=picture_size)
    is_whole = (places == [0, 0, picture_size[1], picture_size[0]]).all(axis=1)
    # No tile shows these objects completely, so what a tile found there is only a part.
    tile = np.min([(right - left, bottom - top) for left, top, right, bottom in windows], axis=0)
    is_larger = is_whole & (boxes[:, 2:] - boxes[:, :2] > tile).any(axis=1)
    candidates = _Candidates(boxes=boxes, windows=places, is_cut=is_cut, is_whole=is_whole)
    # Boxes that are larger than a tile come first, then complete boxes of tiles, then the other boxes of the whole
    # picture, and last those that are cut. Of each kind, the best ones come first.
    order = np.lexsort((-scores, 2 * is_cut + is_whole - 2 * is_larger))
    of_classes = [order[labels[order] == label] for label in np.unique(labels)]
    groups = [group for of_class in of_classes for group in candidates.groups(of_class)]
    firsts = np.array([group[0] for group in groups], dtype=np.int64)
    return best_boxes(
        np.array([_hull(boxes[group]) for group in groups], dtype=np.float32).reshape(-1, 4),
        scores[firsts],
        labels[firsts],
        most=max(1, len(groups)),
        names=answers[0].names,
        masks=None if masks is None else masks.joined(groups),
    )


def _hull(boxes: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the smallest box around some boxes.

    Shape:
        (N, 4) -> (4,)
    """
    return np.concatenate([boxes[:, :2].min(axis=0), boxes[:, 2:].max(axis=0)])


def _moved_masks(
    answers: Sequence[BoxPrediction], windows: Sequence[Window], *, picture_size: tuple[int, int]
) -> BoxMasks | None:
    pairs = [
        (answer.masks, window) for answer, window in zip(answers, windows, strict=True) if answer.masks is not None
    ]
    if len(pairs) < len(answers):
        return None
    return BoxMasks(
        shares=np.concatenate([masks.shares for masks, _ in pairs]),
        boxes=np.concatenate(
            [masks.boxes + np.array([*window[:2], *window[:2]], np.float32) for masks, window in pairs]
        ),
        picture_size=picture_size,
    )


def _are_cut(
    boxes: NDArray[np.float32], windows: NDArray[np.float32], *, picture_size: tuple[int, int]
) -> NDArray[np.bool_]:
    """Return which boxes come near to a border of their window inside of the picture."""
    height, width = picture_size
    sides = windows[:, 2:] - windows[:, :2]
    near = np.concatenate([sides, sides], axis=1) * _NEAR
    is_inside = windows != np.array([0, 0, width, height])
    return (is_inside & (np.abs(boxes - windows) <= near)).any(axis=1)


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class _Candidates:
    """Boxes of all windows in pixels of the picture.

    Shape:
        boxes: (N, 4)
        windows: (N, 4), the window of every box
        is_cut: (N,)
        is_whole: (N,), whether the window is the whole picture
    """

    boxes: NDArray[np.float32]
    windows: NDArray[np.float32]
    is_cut: NDArray[np.bool_]
    is_whole: NDArray[np.bool_]

    def groups(self, order: NDArray[np.intp]) -> list[NDArray[np.intp]]:
        """Return the boxes to keep, the first of `order` first. A group of several is to be joined.

        Args:
            order: indices of boxes of one class; the cut ones come last.
        """
        left, top, right, bottom = np.ascontiguousarray(self.boxes[order].T)
        is_waiting = np.ones(len(order), dtype=np.bool_)

        def take_same(place: int) -> list[int]:
            """Return which waiting boxes show the same object as a box; they wait no longer."""
            touches = (left < right[place]) & (right > left[place]) & (top < bottom[place]) & (bottom > top[place])
            near = np.flatnonzero(is_waiting & touches)
            same = near[self._same(order[place], order[near])]
            is_waiting[same] = False
            return same.tolist()

        kept: list[NDArray[np.intp]] = []
        for place in range(len(order)):
            if not is_waiting[place]:
                continue
            is_waiting[place] = False
            group = [place]
            if not self.is_cut[order[place]]:
                take_same(place)
            else:
                # All boxes that are left are cut. An object can lie in more than two tiles, so the group grows.
                for part in group:
                    group += take_same(part)
            kept.append(order[group])
        return kept

    def _same(self, index: int, others: NDArray[np.intp]) -> NDArray[np.bool_]:
        """Return which other boxes show the same object as a box."""
        seen = _overlap(self.windows[index], self.windows[others])
        first, second = _overlap(self.boxes[index], seen), _overlap(self.boxes[others], seen)
        shared = box_areas(_overlap(first, second))
        areas = box_areas(first), box_areas(second)
        # The whole picture is seen small, so its boxes of small objects are inexact. The tile saw the object better.
        window = self.windows[index]
        is_inexact = self.is_whole[others] & (_overlap(self.boxes[others], window) == self.boxes[others]).all(axis=1)
        limit = np.where(is_inexact, np.minimum(*areas), areas[0] + areas[1] - shared)
        return (self.windows[others] != window).any(axis=1) & (shared > _SAME * limit)


def _overlap(first: NDArray[np.float32], second: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the common part of boxes, row by row; without area if there is none.

    Shape:
        (N, 4) or (4,), (N, 4) or (4,) -> (N, 4)
    """
    corner = np.maximum(first[..., :2], second[..., :2])
    return np.concatenate([corner, np.maximum(corner, np.minimum(first[..., 2:], second[..., 2:]))], axis=-1)
