"""Masks of objects: small as the network gives them, and in full size only when they are asked for."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_LEAST = 0.5
"""Probability above which a pixel belongs to the object."""


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class BoxMasks:
    """One mask for each of some boxes in a picture.

    A mask is a grid of probabilities over its box. `mask` puts it into the picture as torchvision's
    `paste_masks_in_image` does: the grid gets a border of zeros, the box grows by that border and is rounded down to
    whole pixels, and the pixels between the grid's points are interpolated linearly.

    Attributes:
        shares: probability that a part of the box belongs to the object.
        boxes: (left, top, right, bottom) in pixels of the picture; they may reach beyond its borders.
        picture_size: (height, width) of the picture, pixels.

    Shape:
        shares: (N, side, side) float32
        boxes: (N, 4) float32
    """

    shares: NDArray[np.float32]
    boxes: NDArray[np.float32]
    picture_size: tuple[int, int]

    def __len__(self) -> int:
        return len(self.shares)

    def __getitem__(self, rows: "NDArray[np.integer] | slice") -> "BoxMasks":
        """Return some of the masks."""
        return BoxMasks(shares=self.shares[rows], boxes=self.boxes[rows], picture_size=self.picture_size)

    def joined(self, groups: "Sequence[NDArray[np.integer]]") -> "BoxMasks":
        """Return one mask for each group of masks: where any of them is, on a grid over all their boxes."""
        firsts = np.array([group[0] for group in groups], dtype=np.int64)
        shares, boxes = self.shares[firsts], self.boxes[firsts]
        for number, group in enumerate(groups):
            if len(group) > 1:
                boxes[number, :2] = self.boxes[group, :2].min(axis=0)
                boxes[number, 2:] = self.boxes[group, 2:].max(axis=0)
                parts = [_on_other_box(self.shares[row], self.boxes[row], boxes[number]) for row in group.tolist()]
                shares[number] = np.max(parts, axis=0)
        return BoxMasks(shares=shares, boxes=boxes, picture_size=self.picture_size)

    def mask(self, index: int) -> NDArray[np.bool_]:
        """Return which pixels of the picture belong to an object.

        Shape:
            (H, W) of the picture
        """
        whole = np.zeros(self.picture_size, dtype=np.bool_)
        (left, top), part = self.part(index)
        whole[top : top + part.shape[0], left : left + part.shape[1]] = part
        return whole

    def part(self, index: int) -> tuple[tuple[int, int], NDArray[np.bool_]]:
        """Return the mask of an object where it is inside the picture: its (left, top), and its pixels.

        Shape:
            (2,), (rows, columns); without rows or columns if nothing is inside
        """
        grid = np.pad(self.shares[index], 1)
        side = len(grid)
        centre = (self.boxes[index, :2] + self.boxes[index, 2:]) / 2
        half = (self.boxes[index, 2:] - self.boxes[index, :2]) / 2 * np.float32(side / (side - 2))
        # Like torchvision, cut off what is behind the decimal point; the last pixel belongs to the box.
        first, last = (centre - half).astype(np.int64), (centre + half).astype(np.int64)
        (left, columns), (top, rows) = (
            _inside(int(first[axis]), int(last[axis]), length=length, points=side)
            for axis, length in enumerate(reversed(self.picture_size))
        )
        values = _between(_between(grid, rows).T, columns).T
        return (left, top), values > _LEAST

    def rle(self, index: int) -> dict[str, list[int]]:
        """Return a mask in COCO's run-length encoding, uncompressed.

        `size` is (height, width) of the picture. `counts` are the lengths of the runs of pixels, column by column: the
        first is outside of the object, the next inside, and so on. A mask that begins inside has a first count of 0.
        """
        pixels = self.mask(index).ravel(order="F")
        changes = np.flatnonzero(pixels[1:] != pixels[:-1]) + 1
        counts = np.diff(np.concatenate([[0], changes, [len(pixels)]])).tolist()
        begins_inside = bool(len(pixels) and pixels[0])
        return {"size": list(self.picture_size), "counts": [0, *counts] if begins_inside else counts}

    def compressed_rle(self, index: int) -> dict[str, object]:
        """Return a mask in COCO's run-length encoding, compressed, as result files hold it."""
        plain = self.rle(index)
        return {"size": plain["size"], "counts": _compress(plain["counts"])}


def _compress(counts: Sequence[int]) -> str:
    """Return run lengths as pycocotools writes them.

    From the fourth on, a run is stored as the difference from the run two before it. Each number is split into groups
    of five bits, the lowest first. A sixth bit tells that another group follows. 48 is added to get a printable letter.
    """
    letters: list[int] = []
    for index, count in enumerate(counts):
        rest, follows = count - counts[index - 2] if index > 2 else count, True
        while follows:
            group, rest = rest & 31, rest >> 5
            # The highest bit of the last group is the sign.
            follows = rest != (-1 if group & 16 else 0)
            letters.append(48 + group + 32 * follows)
    return bytes(letters).decode()


def _on_other_box(
    grid: NDArray[np.float32], box: NDArray[np.float32], other: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return a mask on a grid over another box; it is 0 outside of its own box.

    Shape:
        (side, side), (4,), (4,) -> (side, side)
    """
    side = len(grid)
    centres = (np.arange(side) + 0.5) / side
    columns, rows = (
        (
            (other[axis] + centres * (other[axis + 2] - other[axis]) - box[axis]) / (box[axis + 2] - box[axis]) * side
            + 0.5
        )
        .clip(0, side + 1)
        .astype(np.float32)
        for axis in (0, 1)
    )
    padded = np.pad(grid, 1)
    return _between(_between(padded, rows).T, columns).T


def _inside(first: int, last: int, *, length: int, points: int) -> tuple[int, NDArray[np.float32]]:
    """Return the first pixel of a box that is inside the picture, and where its pixels inside lie in the grid.

    Args:
        first: first pixel of the box along an axis.
        last: its last pixel.
        length: pixels of the picture.
        points: of the grid.
    """
    start = max(first, 0)
    pixels = np.arange(start, max(min(last + 1, length), start))
    scale = points / max(last - first + 1, 1)
    return start, ((pixels - first + 0.5) * scale - 0.5).clip(0, points - 1).astype(np.float32)


def _between(grid: NDArray[np.float32], places: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the values at places between the rows of a grid.

    Shape:
        (rows, columns), (places,) -> (places, columns)
    """
    before = np.minimum(places.astype(np.int64), len(grid) - 2)
    share = (places - before).astype(np.float32)[:, None]
    values = grid[before] * (1 - share) + grid[before + 1] * share
    return values.astype(np.float32, copy=False)
