"""Pictures with several handwritten digits each, for detection and segmentation of instances; no download.

The digits are those of `parckit.data.digits`, with its splits, so no digit of a test scene occurs in training. They
are scaled, turned a little and painted in random colours on textured canvases. A box is the tight box around the
visible ink of a digit, and its mask is this ink. Picture `i` depends only on the split, `i` and the seed.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, final

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError
from parckit.data.canvases import draw_canvas
from parckit.data.digits import open_digits
from parckit.data.ink import INKED, paint, tight_boxes, write_digit
from parckit.data.objects import Objects
from parckit.data.splits import NAMED, Named, Split

SIDE = 160
"""Height and width of the pictures, pixels."""

LABELS = tuple("0123456789")

_DEFAULT_COUNTS: dict[Named, int] = {"train": 2000, "val": 200, "test": 400}
_MOST_DIGITS = 8
_SMALLEST, _LARGEST = 12, 96
"""Height of a digit, pixels."""

_LARGEST_SHARE = 0.6
"""Share of the picture's height that a digit has at most; it bounds `_LARGEST` in small pictures."""

_OVERLAP = 0.15
"""Share of the smaller of two boxes that may lie in the other one."""

_PLACES = 40
"""Random places from which the first free one is taken."""


class Scene(NamedTuple):
    """A picture and what is in it.

    Attributes:
        pixels: RGB, 0..255.
        boxes: (left, top, right, bottom), pixels.
        labels: the digits.
        masks: the visible ink.

    Shape:
        pixels: (H, W, 3)
        boxes: (N, 4)
        labels: (N,)
        masks: (N, H, W)
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    masks: NDArray[np.bool_]


class _Ink(NamedTuple):
    """A digit before it is painted: how much of every pixel is ink, cut tightly."""

    label: int
    opacity: NDArray[np.float32]


@dataclass(frozen=True, kw_only=True, slots=True)
class _Part:
    """The scenes of one split."""

    split: Named
    count: int
    digits: NDArray[np.uint8]
    labels: NDArray[np.int64]


@final
class DigitScenes:
    """The pictures and targets of a split, made when they are asked for.

    Attributes:
        side: height and width of the pictures, pixels.
    """

    def __init__(self, parts: Sequence[_Part], *, seed: int, side: int, masks: bool) -> None:
        self.side = side
        self._parts = tuple(parts)
        self._seed = seed
        self._masks = masks
        # A loader asks for the picture and then for its objects.
        self._latest: tuple[int, Scene] | None = None

    def __len__(self) -> int:
        return sum(part.count for part in self._parts)

    def __getitem__(self, index: int, /) -> Objects:
        """Return the objects of picture `index`."""
        scene = self.scene(index)
        return Objects(
            boxes=torch.tensor(scene.boxes),
            labels=torch.tensor(scene.labels),
            crowd=torch.zeros(len(scene.labels), dtype=torch.bool),
            masks=torch.tensor(scene.masks) if self._masks else None,
            areas=torch.tensor(scene.masks.sum((1, 2)), dtype=torch.float32),
        )

    def count_objects(self, *, classes: int) -> None:
        """Return None: to count the digits, all pictures would have to be drawn."""

    def name(self, index: int) -> str:
        """Return what errors call picture `index`."""
        part, number = self._locate(index)
        return f"digit_scenes, {part.split}, picture {number}"

    def file_name(self, index: int) -> str:
        """Return a name for the file of picture `index`."""
        part, number = self._locate(index)
        return f"{part.split}_{number:06}.png"

    def load(self, index: int) -> Image.Image:
        """Return picture `index`."""
        return Image.fromarray(self.scene(index).pixels)

    def size(self, index: int) -> tuple[int, int]:
        """Return width and height of picture `index`."""
        self._locate(index)
        return self.side, self.side

    def scene(self, index: int) -> Scene:
        """Return picture `index` with its objects. Do not change its arrays."""
        if self._latest is None or self._latest[0] != index:
            part, number = self._locate(index)
            rng = np.random.default_rng((self._seed, NAMED.index(part.split), number))
            self._latest = (index, _draw_scene(part.digits, part.labels, rng=rng, side=self.side))
        return self._latest[1]

    def _locate(self, index: int) -> tuple[_Part, int]:
        number = index
        for part in self._parts:
            if 0 <= number < part.count:
                return part, number
            number -= part.count
        raise IndexError(f"there are {len(self)} pictures, none with the number {index}")


def make_digit_scenes(
    *, split: Split, count: int | None = None, side: int = SIDE, seed: int = 0, masks: bool = False
) -> DigitScenes:
    """Return the scenes of a split.

    Args:
        split: the split; `"all"` has the pictures of all three.
        count: pictures in train; val has a tenth of them and test a fifth. The default is 2000, 200 and 400.
        side: height and width of the pictures, pixels.
        seed: another seed gives other pictures of the same digits.
        masks: whether masks are wanted.

    Raises:
        InputError: if `count` or `side` is too small.
    """
    if count is not None and count < 1:
        raise InputError(f"digit_scenes:{count}: needs a number of pictures from 1, such as digit_scenes:500")
    if side < 2 * _SMALLEST:
        raise InputError(f"side={side}: must be at least {2 * _SMALLEST} pixels")
    counts = _DEFAULT_COUNTS
    if count is not None:
        counts = {"train": count, "val": math.ceil(count / 10), "test": math.ceil(count / 5)}
    parts: list[_Part] = []
    for name in NAMED if split == "all" else (split,):
        table = open_digits(split=name)
        labels = np.asarray(table.targets, dtype=np.int64)
        parts.append(_Part(split=name, count=counts[name], digits=table.pixels, labels=labels))
    return DigitScenes(parts, seed=seed, side=side, masks=masks)


def _draw_scene(digits: NDArray[np.uint8], labels: NDArray[np.int64], *, rng: np.random.Generator, side: int) -> Scene:
    canvas = draw_canvas(rng, side=side)
    count = int(rng.integers(1, _MOST_DIGITS + 1))
    largest = min(_LARGEST, _LARGEST_SHARE * side)
    # Large digits first: they need the most room, and small digits must not disappear behind them.
    heights = np.sort(np.exp(rng.uniform(math.log(_SMALLEST), math.log(largest), count)))[::-1].tolist()
    corners: list[tuple[int, int, int, int]] = []
    classes: list[int] = []
    masks = np.zeros((count, side, side), dtype=np.bool_)
    for height in heights:
        index = int(rng.integers(len(digits)))
        ink = _Ink(int(labels[index]), write_digit(digits[index], height=height, rng=rng))
        place = _find_place(ink.opacity, corners, rng=rng, side=side)
        if place is None:
            continue
        left, top, right, bottom = place
        inked = ink.opacity >= INKED
        masks[: len(corners), top:bottom, left:right] &= ~inked
        masks[len(corners), top:bottom, left:right] = inked
        paint(canvas[top:bottom, left:right], ink.opacity, rng=rng)
        corners.append(place)
        classes.append(ink.label)
    masks = masks[: len(corners)]
    return Scene(
        pixels=canvas.astype(np.uint8),
        boxes=tight_boxes(masks),
        labels=np.array(classes, dtype=np.int64),
        masks=masks,
    )


def _find_place(
    opacity: NDArray[np.float32],
    corners: Sequence[tuple[int, int, int, int]],
    *,
    rng: np.random.Generator,
    side: int,
) -> tuple[int, int, int, int] | None:
    """Return a place for a digit that overlaps the others little; None if none of the tried ones does."""
    height, width = opacity.shape
    if height > side or width > side:
        return None
    top_left = rng.integers(0, (side - width + 1, side - height + 1), (_PLACES, 2))
    places = np.concatenate([top_left, top_left + np.array([width, height])], axis=1)
    is_free = np.ones(_PLACES, dtype=np.bool_)
    if corners:
        others = np.array(corners)
        shared = np.minimum(places[:, None, 2:], others[:, 2:]) - np.maximum(places[:, None, :2], others[:, :2])
        smaller = np.minimum(width * height, (others[:, 2:] - others[:, :2]).prod(axis=1))
        is_free = (shared.clip(0).prod(axis=2) <= _OVERLAP * smaller).all(axis=1)
    if not is_free.any():
        return None
    left, top, right, bottom = places[int(is_free.argmax())].tolist()
    return left, top, right, bottom
