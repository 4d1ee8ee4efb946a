"""From samples to batches."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from parckit.data.datasets import DrawnImages, IndexedImages, Sample
from parckit.data.sampling import SeededBatches


class Batch(NamedTuple):
    """Images and what is true of them.

    Attributes:
        images: (B, 3, H, W) float32; (0, 3, 0, 0) if every image of the batch was broken.
        targets: one an image; (B,) int64 for classification.
        skipped: broken images dropped while this batch was made.
    """

    images: Tensor
    targets: Tensor
    skipped: int


Collate = Callable[[Sequence[Sample | None]], Batch]
"""Makes a batch of samples; None stands for a broken one."""


def collate_classes(samples: Sequence[Sample | None]) -> Batch:
    """Stack images and class indices, dropping and counting the broken ones."""
    whole = [sample for sample in samples if sample is not None]
    images = torch.stack([image for image, _ in whole]) if whole else torch.empty(0, 3, 0, 0)
    targets = torch.tensor([int(target) for _, target in whole], dtype=torch.int64)
    return Batch(images=images, targets=targets, skipped=len(samples) - len(whole))


def image_loader(
    dataset: IndexedImages,
    *,
    batch_size: int,
    workers: int = 0,
    collate: Collate = collate_classes,
    process: int = 0,
    processes: int = 1,
) -> DataLoader[Batch]:
    """Load every image once, in order.

    An error in a worker arrives as the same exception type; the last line of its text is the original's.

    Args:
        dataset: from `open_images`.
        batch_size: images per batch, before broken ones are dropped.
        workers: loader processes, kept for the loader's life; 0 loads in this process.
        collate: makes a batch of samples.
        process: number of this process, from 0; each loads its own part.
        processes: how many there are; all load equally many batches, the last of which may be empty.
    """
    share = range(process, len(dataset), processes)
    starts = range(0, math.ceil(len(dataset) / processes), batch_size)
    batches = [share[start : start + batch_size] for start in starts]
    return _loader(dataset, batches=batches, workers=workers, collate=collate)


def train_loader(
    dataset: DrawnImages, *, batches: SeededBatches, workers: int = 0, collate: Collate = collate_classes
) -> DataLoader[Batch]:
    """Load the batches that a sampler draws; order and augmentation are its own, with any number of workers."""
    return _loader(dataset, batches=batches, workers=workers, collate=collate)


def _leave_group(worker: int) -> None:
    """Keep signals to the training's whole process group, such as Ctrl-C, away from a loader worker.

    The training may have a step to finish, which needs the worker.
    """
    del worker
    if hasattr(os, "setpgrp"):  # Windows has no process groups
        os.setpgrp()


def _loader(
    dataset: Dataset[Sample | None], *, batches: Iterable[Sequence[object]], workers: int, collate: Collate
) -> DataLoader[Batch]:
    loader = DataLoader(
        dataset,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        worker_init_fn=_leave_group,
        pin_memory=torch.cuda.is_available(),
        batch_sampler=batches,  # pyright: ignore[reportArgumentType] - torch asks for lists of whole numbers
    )
    # torch types a loader by its samples, whatever the collate function makes of them.
    return cast("DataLoader[Batch]", loader)
