"""The handwritten digits that come with scikit-learn: 1,797 grey images of 8 x 8 pixels, no download.

The split is fixed and stratified by class: 20 % of the images are test, 12 % of the rest are val. It depends only on
the images' indices and on two salts (see `parckit.data.splits.held_out`). Train has 1,255 images, val 178, test 364.
"""

import functools
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from sklearn.datasets import load_digits

from parckit.data.splits import Split, held_out
from parckit.data.targets import ClassTargets, LabelTargets
from parckit.processing import LeftOut

SIDE = 32
"""Height and width of the upscaled images, pixels: four times the original size."""

_INK = 16
"""Largest pixel value of the original images."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DigitsTable:
    """The digits of one split.

    Attributes:
        labels: "0" to "9".
        served: name of the split.
        targets: class or labels of every image.
        pixels: (N, 8, 8) uint8, 0 background to 255 ink.
    """

    labels: tuple[str, ...]
    served: str
    targets: ClassTargets | LabelTargets
    pixels: NDArray[np.uint8]

    @property
    def left_out(self) -> tuple[LeftOut, ...]:
        """Return nothing: every digit is used."""
        return ()

    def name(self, index: int) -> str:
        """Return what errors call image `index`."""
        return f"digits, {self.served}, image {index}"

    def load(self, index: int) -> Image.Image:
        """Return image `index`, upscaled with a bicubic filter, as RGB."""
        return Image.fromarray(self.pixels[index]).resize((SIDE, SIDE), Image.Resampling.BICUBIC).convert("RGB")


def open_digits(*, split: Split) -> DigitsTable:
    """Open a split of the digits."""
    pixels, targets = _read_digits()
    indices = _indices(targets, split=split)
    return DigitsTable(
        labels=tuple("0123456789"),
        served=split,
        targets=targets[indices].astype(np.int64),
        pixels=np.ascontiguousarray(pixels[indices]),
    )


@functools.cache
def _read_digits() -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """Return pixels and classes of all digits. scikit-learn keeps them as text, which takes a tenth of a second."""
    values, targets = cast("tuple[NDArray[np.float64], NDArray[np.int64]]", load_digits(return_X_y=True))
    return np.rint(values.reshape(-1, 8, 8) * (255 / _INK)).astype(np.uint8), targets


def _indices(targets: NDArray[np.int64], *, split: Split) -> list[int]:
    indices = list(range(len(targets)))
    if split == "all":
        return indices
    test = held_out([str(index) for index in indices], classes=targets.tolist(), percent=20, salt="digits-test")
    rest = [index for index in indices if index not in test]
    positions = held_out([str(index) for index in rest], classes=targets[rest].tolist(), percent=12, salt="digits-val")
    val = {rest[position] for position in positions}
    members = {"train": set(rest) - val, "val": val, "test": test}[split]
    return sorted(members)
