"""Which images a training step gets. This depends only on seed, epoch and step, so a run can resume at any step.

The order of an epoch is a permutation drawn from (seed, epoch). Every process takes its part of each global batch. Two
processes therefore see the same global batches as one process with twice the batch size. The augmentation of an image
is drawn from (seed, epoch, index, repeat). It does not depend on the process or worker that loads the image.

Balanced sampling replaces the permutation: every class gets the same number of draws, and a rare class's images are
drawn several times, each time with another augmentation.
"""

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple, final

import numpy as np
from numpy.typing import NDArray
from torch.utils.data import Sampler

from parckit.contract import InputError
from parckit.data.sizes import BatchShape, Epoch, Size, Sizes

Sampling = Literal["natural", "balanced"]
"""Whether an epoch draws every image equally often, or every class."""


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
        classes: class index of every image, for balanced sampling: an epoch draws every class equally often. It does
            not get longer. None: an epoch draws every image at most once.
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
        classes: NDArray[np.int64] | None = None,
        process: int = 0,
        processes: int = 1,
    ) -> None:
        if not 1 <= repeats <= max(1, length):
            raise InputError(f"repeats={repeats}: must be from 1 to the number of images, {length}")
        self._length = length
        self._batch = batch
        self._sizes = sizes
        self._repeats = repeats
        self._epochs = epochs
        self._seed = seed
        self._classes = classes
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
        order, rows = self._order()
        order, rows = (np.repeat(column, self._repeats)[: self._length] for column in (order, rows))
        seeds = self._generator("augmentation").integers(2**32, size=(self._length, self._repeats))
        shapes = self._shapes()
        ends = np.cumsum([shape.images * self._processes for shape in shapes])
        share = self._share
        # A generator expression, not a generator function: it reads epoch and start now, not at the first batch.
        return (
            [
                Draw(int(order[place]), int(seeds[rows[place], place % self._repeats]), shape.size, share)
                for place in self._places(int(end), shape)
            ]
            for shape, end in list(zip(shapes, ends, strict=True))[self._start :]
        )

    def _order(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the epoch's images in order, and for each of them its row in the table of augmentation seeds."""
        rng = self._generator("order")
        if self._classes is None:
            order = rng.permutation(self._length)
            return order, order
        # An image may come several times, so the rows are the places in the order.
        order = _balanced(self._classes, count=-(-self._length // self._repeats), rng=rng)
        return order, np.arange(len(order))

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


def _balanced(classes: NDArray[np.int64], *, count: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Draw `count` images in random order.

    The numbers of draws of two classes differ by at most 1, and so do those of two images of a class.
    """
    members = [np.flatnonzero(classes == index) for index in np.unique(classes)]
    quotas = np.full(len(members), count // len(members))
    quotas[rng.permutation(len(members))[: count % len(members)]] += 1
    drawn: list[NDArray[np.int64]] = []
    for images, quota in zip(members, quotas.tolist(), strict=True):
        # A round shows every image of the class once. The last round is cut.
        rounds = np.tile(images, (-(-quota // len(images)), 1))
        drawn.append(rng.permuted(rounds, axis=1).ravel()[:quota])
    return rng.permutation(np.concatenate(drawn))
