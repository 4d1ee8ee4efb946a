"""Which images a training step gets: a function of seed, epoch and step alone, so that a run can go on anywhere.

The order of an epoch is a permutation drawn from (seed, epoch). Every process takes its own part of each global batch,
so two processes see the batches that one with twice the batch size sees. What happens to an image is drawn from
(seed, epoch, index, repeat), whichever process or worker loads it.
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
        image: its index in the dataset.
        seed: of its augmentation, below 2^32 because numpy accepts no more.
        size: that it is brought to.
        share: of the run that lies before its epoch, in [0, 1).
    """

    image: int
    seed: int
    size: Size
    share: float


class BatchShape(NamedTuple):
    """What all images of a batch share.

    Attributes:
        images: their number per process.
        size: of each.
    """

    images: int
    size: Size


class Epoch(NamedTuple):
    """What decides the shapes of an epoch's batches.

    Attributes:
        share: of the run that lies before it, in [0, 1).
        images: that all processes together may draw.
        processes: how many there are.
        full: batch of the recipe's own size.
    """

    share: float
    images: int
    processes: int
    full: BatchShape


class Sizes(Protocol):
    """How a training varies the size of its images; the number of batches must be the same in every epoch."""

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return the shapes of an epoch's batches, in order; `rng` is seeded by the epoch alone."""
        ...

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return the sizes that a run of so many epochs draws, given the recipe's own."""
        ...


@dataclass(frozen=True, kw_only=True)
class OneSize:
    """Every batch as the recipe says."""

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return equal shapes."""
        del rng
        return [epoch.full] * (epoch.images // (epoch.full.images * epoch.processes))

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return the recipe's own."""
        del epochs
        return {full}


@dataclass(frozen=True, kw_only=True)
class MultiScale:
    """Square batches of several sizes in random order, each size equally often (MobileViT, arXiv:2110.02178, 4.1).

    At sides below `base` a batch holds as many more images as keep its number of pixels; above, as many as at `base`,
    as the official ParC-Net and MobileViT samplers do. They draw every batch's side independently; drawn without
    replacement, as here, all epochs have equally many steps.

    Attributes:
        sides: to choose from, pixels.
        base: the side that the batch size is meant for, pixels.
    """

    sides: tuple[int, ...]
    base: int

    def __post_init__(self) -> None:
        if not self.sides or min(self.sides) < 1 or self.base < 1:
            raise InputError(f"sides={self.sides}, base={self.base}: must be positive sides in pixels")

    def images(self, side: int, *, batch_size: int, processes: int) -> int:
        """Return how many images of `side` a process' batch holds, given their number at `base`.

        Rounded to the nearest multiple of the number of processes, as in the official sampler.
        """
        wanted = batch_size * self.base**2 // side**2
        return max(batch_size, (wanted + processes // 2) // processes * processes)

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return as many whole batches as the images fill, shuffled.

        Raises:
            InputError: if they do not fill a batch of every size, so that some would never be drawn.
        """
        images = [
            self.images(side, batch_size=epoch.full.images, processes=epoch.processes) * epoch.processes
            for side in self.sides
        ]
        rounds, left = divmod(epoch.images, sum(images))
        if not rounds:
            needed = f"a batch of every size takes {sum(images)} images, at batch_size={epoch.full.images}"
            raise InputError(f"sides={self.sides}: {needed}; there are only {epoch.images} to train on")
        extra = int(np.searchsorted(np.cumsum(images), left, side="right"))
        chosen = [*range(len(images))] * rounds + [*range(extra)]
        return [
            BatchShape(images[i] // epoch.processes, (self.sides[i], self.sides[i])) for i in rng.permutation(chosen)
        ]

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return squares of all sides."""
        del full, epochs
        return {(side, side) for side in self.sides}


@dataclass(frozen=True, kw_only=True)
class Progressive:
    """Small images first: sides grow linearly to the recipe's own over the first part of the run.

    Attributes:
        start: first sides as a share of the last ones, in (0, 1].
        until: share of the run after which images have their full size, in (0, 1].
        multiple: sides are rounded to multiples of so many pixels.
    """

    start: float = 0.5
    until: float = 0.75
    multiple: int = 8

    def __post_init__(self) -> None:
        if not 0 < self.start <= 1 or not 0 < self.until <= 1 or self.multiple < 1:
            values = f"start={self.start}, until={self.until}, multiple={self.multiple}"
            raise InputError(f"{values}: need shares in (0, 1] and a positive number of pixels")

    def shapes(self, epoch: Epoch, rng: np.random.Generator) -> Sequence[BatchShape]:
        """Return equal shapes, grown with the epoch."""
        del rng
        shape = BatchShape(epoch.full.images, self._size(epoch.full.size, share=epoch.share))
        return [shape] * (epoch.images // (shape.images * epoch.processes))

    def all_sizes(self, full: Size, *, epochs: int) -> set[Size]:
        """Return the sizes of all epochs."""
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
    """Batches of one process, in an order that (seed, epoch) decides.

    Only whole batches are drawn, so that every process makes equally many steps; what is left over changes from epoch
    to epoch.

    Args:
        length: images of the dataset.
        batch: of the recipe's own size, per process.
        sizes: how images' sizes vary.
        repeats: how often an epoch draws an image, mostly into one global batch but different processes, each time with
            a seed of its own. It draws as many in all, so only one image in `repeats` (repeated augmentation,
            arXiv:1902.05509).
        epochs: length of the run; only growing sizes need it.
        seed: of order, sizes and augmentation.
        process: number of this process, from 0.
        processes: how many there are.

    Raises:
        InputError: if `repeats` is not positive, or the images do not fill one batch of every process.
    """

    def __init__(
        self,
        length: int,
        *,
        batch: BatchShape,
        sizes: Sizes,
        repeats: int = 1,
        epochs: int = 1,
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
        """Where Lightning looks for `set_epoch` in a sampler of batches."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Draw an epoch from its beginning, but for the one of `resume_at`; lightning calls it before every one."""
        if epoch != self._epoch:
            self.resume_at(epoch, start=0)

    def resume_at(self, epoch: int, *, start: int) -> None:
        """Draw an epoch without its first `start` batches, for a run that continues in the middle of it."""
        self._epoch, self._start = epoch, start

    def __len__(self) -> int:
        """Return the number of batches in a whole epoch, also when some are left out."""
        return self._count

    def __iter__(self) -> Iterator[list[Draw]]:
        order = np.repeat(self._generator("order").permutation(self._length), self._repeats)[: self._length]
        seeds = self._generator("augmentation").integers(2**32, size=(self._length, self._repeats))
        shapes = self._shapes()
        ends = np.cumsum([shape.images * self._processes for shape in shapes])
        share = self._share
        # A generator expression, so that epoch and start are those of this call however late it is drawn from.
        return (
            [
                Draw(int(order[place]), int(seeds[order[place], place % self._repeats]), shape.size, share)
                for place in self._own(int(end), shape)
            ]
            for shape, end in list(zip(shapes, ends, strict=True))[self._start :]
        )

    def _own(self, end: int, shape: BatchShape) -> Sequence[int]:
        """Return this process' places in the epoch's order, of a global batch that ends before one."""
        places = range(end - shape.images * self._processes + self._process, end, self._processes)
        # Mixing pairs neighbours, which the repeats of an image must not be: all first ones, all second ones, ...
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
