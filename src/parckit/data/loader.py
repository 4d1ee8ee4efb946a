"""From samples to batches."""

import math
import os
from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from parckit.data.datasets import DrawnImages, IndexedImages, Sample
from parckit.data.sampling import SeededBatches


class Batch(NamedTuple):
    """Images and their classes.

    Attributes:
        images: (B, 3, H, W) float32; (0, 3, 0, 0) if every image of the batch was broken.
        targets: (B,) int64.
        skipped: broken images dropped while this batch was made.
    """

    images: Tensor
    targets: Tensor
    skipped: int


def collate(samples: Sequence[Sample | None]) -> Batch:
    """Stack samples, dropping and counting the broken ones (None)."""
    whole = [sample for sample in samples if sample is not None]
    images = torch.stack([image for image, _ in whole]) if whole else torch.empty(0, 3, 0, 0)
    targets = torch.tensor([target for _, target in whole], dtype=torch.int64)
    return Batch(images=images, targets=targets, skipped=len(samples) - len(whole))


def image_loader(
    dataset: IndexedImages, *, batch_size: int, workers: int = 0, process: int = 0, processes: int = 1
) -> DataLoader[Batch]:
    """Load every image once, in order.

    An error in a worker arrives as the same exception type; the last line of its text is the original's.

    Args:
        dataset: from `open_images`.
        batch_size: images per batch, before broken ones are dropped.
        workers: loader processes, kept for the loader's life; 0 loads in this process.
        process: number of this process, from 0; each loads its own part.
        processes: how many there are; all load equally many batches, the last of which may be empty.
    """
    part = range(process, len(dataset), processes)
    starts = range(0, math.ceil(len(dataset) / processes), batch_size)
    return _loader(dataset, workers=workers, batches=[part[start : start + batch_size] for start in starts])


def train_loader(dataset: DrawnImages, *, batches: SeededBatches, workers: int = 0) -> DataLoader[Batch]:
    """Load the batches that a sampler draws; order and augmentation are its own, with any number of workers."""
    return _loader(dataset, workers=workers, batches=batches)


def _leave_group(worker: int) -> None:
    """Let no signal to the parent's whole group, as of Ctrl-C, end a worker: the parent may have a step to finish."""
    del worker
    if hasattr(os, "setpgrp"):  # Windows has no groups
        os.setpgrp()


def _loader(
    dataset: IndexedImages | DrawnImages, *, workers: int, batches: Sequence[Sequence[int]] | SeededBatches
) -> DataLoader[Batch]:
    loader = DataLoader(
        dataset,
        batch_sampler=batches,  # pyright: ignore[reportArgumentType] - torch's type knows integers as indices only
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        worker_init_fn=_leave_group,
        pin_memory=torch.cuda.is_available(),
    )
    # torch types a loader by its samples, whatever the collate function makes of them.
    return cast("DataLoader[Batch]", loader)
