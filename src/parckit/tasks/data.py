"""Images for training and validation as a LightningDataModule."""

from lightning.pytorch import LightningDataModule
from torch.utils.data import DataLoader

from parckit.contract import InputError, Preprocessing
from parckit.data import (
    Augment,
    Batch,
    ImageDataset,
    IndexedImages,
    OnError,
    eval_transform,
    image_loader,
    open_images,
    train_transform,
)

_AUGMENT = Augment()
MIN_BATCH = 2
"""Batch norms behind a global mean see one value per image and channel, and cannot train on a single one."""


class ClassifyData(LightningDataModule):
    """Labelled images of one source, split into training and validation.

    Args:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, or a URL pattern of shards.
        preprocessing: input size, resize, normalisation; travels with every checkpoint and bundle.
        augment: what training does to an image beside that.
        batch_size: images per step and process.
        workers: loader processes; 0 loads in the training process.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        seed: of order and augmentation.

    Raises:
        InputError: if the source cannot be opened, or does not fill one training batch.
    """

    def __init__(
        self,
        *,
        source: str,
        preprocessing: Preprocessing,
        augment: Augment = _AUGMENT,
        batch_size: int = 64,
        workers: int = 2,
        on_error: OnError = "raise",
        seed: int = 0,
    ) -> None:
        super().__init__()
        if batch_size < MIN_BATCH or workers < 0:
            raise InputError(f"batch_size={batch_size}, workers={workers}: need at least {MIN_BATCH} and at least 0")
        self.preprocessing = preprocessing
        self._batch_size = batch_size
        self._workers = workers
        self._seed = seed
        evaluate = eval_transform(preprocessing)
        augmented = train_transform(preprocessing, augment=augment)
        self._train = open_images(source, split="train", transform=augmented, on_error=on_error)
        self._val = open_images(source, split="val", transform=evaluate, on_error=on_error)
        if isinstance(self._train, IndexedImages) and len(self._train) < batch_size:
            raise InputError(f"batch_size={batch_size}: {source} has only {len(self._train)} images to train on")

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names by index."""
        return self._train.labels

    def train_dataloader(self) -> DataLoader[Batch]:
        """Shuffled, augmented batches; a last one that is not full is left out, for batch norm's sake."""
        return self._loader(self._train, shuffle=True)

    def val_dataloader(self) -> DataLoader[Batch]:
        """Every validation image once."""
        return self._loader(self._val, shuffle=False)

    def _loader(self, dataset: ImageDataset, *, shuffle: bool) -> DataLoader[Batch]:
        return image_loader(
            dataset,
            batch_size=self._batch_size,
            workers=self._workers,
            shuffle=shuffle,
            seed=self._seed,
            drop_last=shuffle,
        )
