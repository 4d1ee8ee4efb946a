"""Labelled images that a command evaluates on."""

from dataclasses import dataclass
from itertools import zip_longest

from torch.utils.data import DataLoader

from parckit.contract import InputError
from parckit.data import Batch, IndexedImages, OnError, Split, eval_transform, image_loader, open_images
from parckit.runtimes import Session


@dataclass(frozen=True, kw_only=True, slots=True)
class DataChoice:
    """Labelled images to evaluate on; `--data X` is short for `--data.source X`.

    Attributes:
        source: `digits`, a folder of class folders, a folder or pattern of tar shards, or `hf://NAME`.
        split: which part of the source; without a test part, val or a held-out part of train serves, with a warning.
        on_error: `raise` stops at a broken image and names it, `skip` leaves it out and counts it.
        batch_size: images at once.
        workers: loader processes; 0 loads in this one.
    """

    source: str
    split: Split = "test"
    on_error: OnError = "raise"
    batch_size: int = 64
    workers: int = 0

    def __post_init__(self) -> None:
        if self.batch_size < 1 or self.workers < 0:
            raise InputError(
                f"--data.batch_size {self.batch_size}, --data.workers {self.workers}: need at least 1 and at least 0"
            )

    def batches(self, session: Session) -> DataLoader[Batch]:
        """Return batches of the images, as a session's model expects them.

        Raises:
            InputError: if the data's classes are not the model's.
        """
        return self.load(self.open(session))

    def load(self, dataset: IndexedImages) -> DataLoader[Batch]:
        """Return batches of images that `open` returned."""
        return image_loader(dataset, batch_size=self.batch_size, workers=self.workers)

    def open(self, session: Session) -> IndexedImages:
        """Return the images one by one, as a session's model expects them.

        Raises:
            InputError: if the data's classes are not the model's.
        """
        transform = eval_transform(session.spec.preprocessing)
        dataset = open_images(self.source, split=self.split, transform=transform, on_error=self.on_error)
        ours, theirs = dataset.labels, session.spec.labels
        if ours != theirs:
            pairs = enumerate(zip_longest(ours, theirs))
            index, (own, others) = next((i, pair) for i, pair in pairs if pair[0] != pair[1])
            differ = f"{len(ours)} and {len(theirs)}; class {index} is {own!r}, the model's {others!r}"
            raise InputError(f"--data {self.source}: its classes are not the model's ({differ})")
        return dataset
