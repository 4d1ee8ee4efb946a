"""Which images a training step gets. This depends only on seed, epoch and step, so a run can resume at any step.

The order of an epoch is a permutation drawn from (seed, epoch). Every process takes its part of each global batch. Two
processes therefore see the same global batches as one process with twice the batch size. The augmentation of an image
is drawn from (seed, epoch, index, repeat). It does not depend on the process or worker that loads the image.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol, final

import numpy as np
from torch.utils.data import Sampler

from parckit.contract import InputError

Size = tuple[int, int]
"""(height, width), pixels."""


class Draw(NamedTuple):
    """One image of a training batch.

    Attributes:
        image: index of the image in the dataset.
        seed: seed of its augmentation, below 2^32 because numpy accepts no more.
        size: size of the augmented image.
        share: share of the run before this epoch, in [0, 1).
    """

    image: int
    seed: int
    size: Size
    share: float


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
        if not self.sides or min(self.sides) < 1 or self.base < 1:
            raise InputError(f"sides={self.sides}, base={self.base}: must be positive sides in pixels")

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


@final
class SeededBatches(Sampler[list[Draw]]):
    """Batches of one process, in an order that depends only on (seed, epoch).

    Only whole batches are drawn, so every process makes the same number of steps. Other images are left over in every
    epoch.

    Args:
        length: number of images in the dataset.
        batch: batch shape from the recipe, per process.
        sizes: how the image size varies.
        epochs: number of epochs in the run; sizes and augmentations that change during the run need it.
        repeats: how often an epoch draws the same image (repeated augmentation, arXiv:1902.05509). Every repeat has
            another augmentation seed. Most repeats of an image are in one global batch, on different processes. The
            epoch does not get longer: it uses only one of `repeats` images.
        seed: seed of the order, the sizes and the augmentation.
        process: index of this process, from 0.
        processes: number of processes.

    Raises:
        InputError: if `repeats` is not positive, or the images do not fill one batch of every process.
    """

    def __init__(
        self,
        length: int,
        *,
        batch: BatchShape,
        sizes: Sizes,
        epochs: int,
        repeats: int = 1,
        seed: int = 0,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if repeats < 1:
            raise InputError(f"repeats={repeats}: must be at least 1")
        self._length = length
        self._batch = batch
        self._sizes = sizes
        self._repeats = repeats
        self._epochs = epochs
        self._seed = seed
        self._process = process
        self._processes = processes
        self._epoch = 0
        self._start = 0
        self._count = len(self._shapes())
        if not self._count:
            many = f" in each of {processes} processes" if processes > 1 else ""
            raise InputError(f"batch_size={batch.images}{many}: there are only {length} images to train on")

    @property
    def sampler(self) -> "SeededBatches":
        """This object: Lightning looks for `set_epoch` here."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Start an epoch at its first batch, or where `resume_at` put it. Lightning calls this before every epoch."""
        if epoch != self._epoch:
            self.resume_at(epoch, start=0)

    def resume_at(self, epoch: int, *, start: int) -> None:
        """Skip the first `start` batches of an epoch, because a resumed run has already trained on them."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, including batches that `resume_at` skips."""
        return self._count

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.repeat(self._generator("order").permutation(self._length), self._repeats)[: self._length]
        seeds = self._generator("augmentation").integers(2**32, size=(self._length, self._repeats))
        shapes = self._shapes()
        ends = np.cumsum([shape.images * self._processes for shape in shapes])
        share = self._share
        # A generator expression, not a generator function: it reads epoch and start now, not at the first batch.
        return (
            [
                Draw(int(order[place]), int(seeds[order[place], place % self._repeats]), shape.size, share)
                for place in self._places(int(end), shape)
            ]
            for shape, end in list(zip(shapes, ends, strict=True))[self._start :]
        )

    def _places(self, end: int, shape: BatchShape) -> Sequence[int]:
        """Return the places in the epoch's order that this process takes from the global batch that ends at `end`."""
        places = range(end - shape.images * self._processes + self._process, end, self._processes)
        # Mixup and CutMix pair neighbours, and two repeats of one image must not be a pair. So the first repeats of all
        # images come first, then all second repeats, and so on.
        return sorted(places, key=lambda place: place % self._repeats)

    def _shapes(self) -> Sequence[BatchShape]:
        epoch = Epoch(
            share=self._share,
            images=self._length,
            processes=self._processes,
            full=self._batch,
        )
        return self._sizes.shapes(epoch, self._generator("sizes"))

    @property
    def _share(self) -> float:
        return self._epoch / self._epochs

    def _generator(self, purpose: str) -> np.random.Generator:
        return np.random.default_rng([self._seed, self._epoch, *purpose.encode()])
