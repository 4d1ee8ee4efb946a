"""Images for training and validation as a LightningDataModule."""

import math

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from parckit.contract import InputError, Preprocessing
from parckit.data import (
    Augment,
    Batch,
    BatchShape,
    DrawnImages,
    MultiScale,
    OnError,
    OneSize,
    Progressive,
    SeededBatches,
    Sizes,
    eval_transform,
    image_loader,
    open_images,
    train_loader,
    train_transform,
)

_AUGMENT = Augment()
MIN_BATCH = 2
"""Batch norms behind a global mean see one value per image and channel, and cannot train on a single one."""


class ClassifyData(LightningDataModule):
    """Labelled images of one source, split into training and validation.

    Args:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, or `hf://NAME`.
        preprocessing: input size, resize, normalisation; travels with every checkpoint and bundle.
        augment: what training does to an image beside that.
        sizes: how training varies the images' size; None: it does not.
        repeats: how often an epoch shows an image, each time augmented anew; it has as many steps, so shows only one
            image in `repeats` (repeated augmentation, arXiv:1902.05509).
        batch_size: images per step and process; if sizes vary, at the base one.
        workers: loader processes; 0 loads in the training process.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        seed: of order, sizes and augmentation.

    Attributes:
        batch_size: as above.

    Raises:
        InputError: if the source cannot be opened, has one class only, or does not fill one training batch.
    """

    def __init__(
        self,
        *,
        source: str,
        preprocessing: Preprocessing,
        augment: Augment = _AUGMENT,
        sizes: MultiScale | Progressive | None = None,
        repeats: int = 1,
        batch_size: int = 64,
        workers: int = 2,
        on_error: OnError = "raise",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < MIN_BATCH or workers < 0:
            raise InputError(f"batch_size={batch_size}, workers={workers}: need at least {MIN_BATCH} and at least 0")
        self.preprocessing = preprocessing
        self.batch_size = batch_size
        self._sizes: Sizes = sizes or OneSize()
        self._repeats = repeats
        self._workers = workers
        self._seed = seed
        augmented = train_transform(preprocessing, augment=augment)
        evaluate = eval_transform(preprocessing)
        train = open_images(source, split="train", transform=evaluate, on_error=on_error)
        self._train = DrawnImages(train.table, transform=augmented, on_error=on_error)
        self._batches(epochs=1)
        if len(self.labels) == 1:
            raise InputError(f"{source}: has the class {self.labels[0]!r} alone; is it a folder too high?")
        self._val = open_images(source, split="val", transform=evaluate, on_error=on_error)

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self._train.labels

    @property
    def train_images(self) -> int:
        """How many images an epoch has."""
        return len(self._train)

    @property
    def training_sizes(self) -> list[tuple[int, int]]:
        """Sizes (height, width) of the training images, pixels, from small to large."""
        return sorted(self._sizes.all_sizes(self.preprocessing.size, epochs=self._epochs))

    def train_dataloader(self) -> DataLoader[Batch]:
        """Return shuffled, augmented batches, all of them full for batch norm's sake.

        In a run that resumes in the middle of an epoch they begin behind those already used.
        """
        process, processes = self._process
        batches = self._batches(epochs=self._epochs, process=process, processes=processes)
        if self.trainer is not None:
            loop = self.trainer.fit_loop
            is_within = loop.epoch_progress.current.ready > self._epochs_done
            batches.resume_at(self._epochs_done, start=loop.epoch_loop.batch_progress.current.ready if is_within else 0)
        return train_loader(self._train, batches=batches, workers=self._workers)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Return every validation image once, over all processes."""
        process, processes = self._process
        return image_loader(
            self._val, batch_size=self.batch_size, workers=self._workers, process=process, processes=processes
        )

    @property
    def _process(self) -> tuple[int, int]:
        """Number of this process, and how many there are."""
        return (0, 1) if self.trainer is None else (self.trainer.global_rank, self.trainer.world_size)

    @property
    def _epochs_done(self) -> int:
        """How many epochs have all their batches behind them, perhaps in runs before this one."""
        if self.trainer is None:
            return 0
        return self.trainer.fit_loop.epoch_progress.current.processed  # pyright: ignore[reportAttributeAccessIssue] - Lightning names the base of its type

    @property
    def _epochs(self) -> int:
        """How many epochs the run has, of which the last may be unfinished; 1 without a trainer."""
        if self.trainer is None:
            return 1
        _, processes = self._process
        batches = len(self._batches(epochs=1, processes=processes))
        limit = self.trainer.limit_train_batches
        batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
        steps = max(1, math.ceil(batches / self.trainer.accumulate_grad_batches))
        limits = (self.trainer.max_epochs or 0, math.ceil(self.trainer.max_steps / steps))
        return min((limit for limit in limits if limit > 0), default=1)

    def _batches(self, *, epochs: int, process: int = 0, processes: int = 1) -> SeededBatches:
        return SeededBatches(
            self.train_images,
            batch=BatchShape(self.batch_size, self.preprocessing.size),
            sizes=self._sizes,
            repeats=self._repeats,
            epochs=epochs,
            seed=self._seed,
            process=process,
            processes=processes,
        )
