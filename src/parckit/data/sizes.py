"""How the size of training images varies: not at all, from batch to batch, or from epoch to epoch."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np

from parckit.contract import LONGEST_SIDE, InputError

Size = tuple[int, int]
"""(height, width), pixels."""


class BatchShape(NamedTuple):
    """Number and size of the images in a batch.

    Attributes:
        images: number of images per process.
        size: size of every image in the batch.
    """

    images: int
    size: Size


class Epoch(NamedTuple):
    """What the shapes of an epoch's batches depend on.

    Attributes:
        share: share of the run before this epoch, in [0, 1).
        images: number of images that all processes together may draw.
        processes: number of processes.
        full: batch shape from the recipe: its batch size and its image size.
    """

    share: float
    images: int
    processes: int
    full: BatchShape


class Sizes(Protocol):
    """How the image size varies during training. The number of batches must be the same in every epoch."""

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return the shapes of an epoch's batches, in order; `rng` is seeded from the run's seed and the epoch."""
        ...

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return all image sizes that a run of `epochs` epochs uses; `full` is the recipe's image size."""
        ...


@dataclass(frozen=True, kw_only=True)
class OneSize:
    """Every batch has the recipe's batch size and image size."""

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return the recipe's shape for every batch."""
        del rng
        return [epoch.full] * (epoch.images // (epoch.full.images * epoch.processes))

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return the recipe's image size."""
        del epochs
        return {full}


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """Batches of square images with several sides, in random order (MobileViT, arXiv:2110.02178, section 4.1).

    At a side below `base`, a batch holds more images, so that its number of pixels stays about the same. At a side
    above `base`, it holds as many images as at `base`. The official ParC-Net and MobileViT samplers do the same, but
    they draw the side of every batch independently. Here every side gets the same number of batches, except that the
    last images fill one more batch of some sides. So all epochs have the same number of steps.

    Attributes:
        sides: height and width of the images, pixels; one per size.
        base: the side that the recipe's batch size is meant for, pixels.
    """

    sides: tuple[int, ...]
    base: int

    def __post_init__(self) -> None:
        if not self.sides or not all(1 <= side <= LONGEST_SIDE for side in (*self.sides, self.base)):
            raise InputError(f"sides={self.sides}, base={self.base}: must be sides from 1 to {LONGEST_SIDE} pixels")

    def images(self, side: int, *, batch_size: int, processes: int) -> int:
        """Return the number of images in a batch of one process at `side`; at `base` it is `batch_size`.

        The number is rounded to the nearest multiple of the number of processes, as in the official sampler.
        """
        same_pixels = batch_size * self.base**2 // side**2
        return max(batch_size, (same_pixels + processes // 2) // processes * processes)

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return as many whole batches as the images fill, shuffled.

        Raises:
            InputError: if the images do not fill a batch of every size; some sizes would never be used.
        """
        # Images in one global batch of each side.
        images = [
            self.images(side, batch_size=epoch.full.images, processes=epoch.processes) * epoch.processes
            for side in self.sides
        ]
        rounds, remaining = divmod(epoch.images, sum(images))
        if not rounds:
            needed = f"a batch of every size takes {sum(images)} images, at batch_size={epoch.full.images}"
            raise InputError(f"sides={self.sides}: {needed}; there are only {epoch.images} to train on")
        # A round is one batch of every side. The remaining images fill one more batch of the first `extra` sides.
        extra = int(np.searchsorted(np.cumsum(images), remaining, side="right"))
        indices = [*range(len(images))] * rounds + [*range(extra)]
        return [
            BatchShape(images[i] // epoch.processes, (self.sides[i], self.sides[i])) for i in rng.permutation(indices)
        ]

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return squares of all sides."""
        del full, epochs
        return {(side, side) for side in self.sides}


@dataclass(frozen=True, kw_only=True)
class Progressive:
    """Small images first: height and width grow linearly to the recipe's size in the first part of the run.

    Attributes:
        start: height and width at the start, as a share of the recipe's, in (0, 1].
        until: share of the run after which images have the recipe's size, in (0, 1].
        multiple: height and width are rounded to multiples of this number of pixels.
    """

    start: float = 0.5
    until: float = 0.75
    multiple: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.start <= 1 or not 0 < self.until <= 1 or self.multiple < 1:
            values = f"start={self.start}, until={self.until}, multiple={self.multiple}"
            raise InputError(f"{values}: start and until must lie in (0, 1], multiple must be at least 1 pixel")

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return the same shape for every batch of the epoch; its size grows from epoch to epoch."""
        del rng
        shape = BatchShape(epoch.full.images, self._size(epoch.full.size, share=epoch.share))
        return [shape] * (epoch.images // (shape.images * epoch.processes))

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return the image sizes of all epochs."""
        return {self._size(full, share=epoch / epochs) for epoch in range(epochs)}

    def _size(self, full: Size, *, share: float) -> Size:
        """Return the size after a share of the run."""
        scale = self.start + (1 - self.start) * min(1.0, share / self.until)
        height, width = (
            side if scale == 1 else min(side, max(1, round(scale * side / self.multiple)) * self.multiple)
            for side in full
        )
        return height, width
