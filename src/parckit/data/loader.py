"""From samples to batches."""

import math
import os
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, cast

import numpy as np
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from parckit.data.datasets import DrawnImages, IndexedImages, Sample, Target
from parckit.data.sampling import SeededBatches
from parckit.processing import Geometry


class Batch(NamedTuple):
    """Images and their targets.

    Attributes:
        images: (B, 3, H, W) float32; (0, 3, 0, 0) if every image of the batch was broken.
        targets: one per image; (B,) int64 for classification, (B, classes) float32 for several labels an image, a list
            for all other tasks.
        skipped: number of broken images that were left out of this batch.
        geometries: where the images lie in their pictures, one each; empty in training.
    """

    images: Tensor
    targets: Target
    skipped: int
    geometries: tuple[Geometry, ...] = ()


Collate = Callable[[Sequence[Sample | None]], Batch]
"""Makes a batch from samples; a broken sample is None."""


def collate_classes(samples: Sequence[Sample | None]) -> Batch:
    """Stack images and class indices. Broken samples are left out and counted."""
    return _collate(samples, lambda targets: torch.tensor([int(target) for target in targets], dtype=torch.int64))


def collate_labels(samples: Sequence[Sample | None]) -> Batch:
    """Stack images and their labels: 1 for the classes that an image shows, else 0. See `collate_classes`."""
    return _collate(samples, lambda targets: torch.from_numpy(np.asarray(targets, dtype=np.float32)))


def collate_listed(samples: Sequence[Sample | None]) -> Batch:
    """Stack images; the targets of the images become a list. See `collate_classes`."""
    return _collate(samples, lambda targets: targets)


def _collate(samples: Sequence[Sample | None], join_targets: Callable[[list[Target]], Target]) -> Batch:
    intact = [sample for sample in samples if sample is not None]
    return Batch(
        images=torch.stack([sample.image for sample in intact]) if intact else torch.empty(0, 3, 0, 0),
        targets=join_targets([sample.target for sample in intact]),
        skipped=len(samples) - len(intact),
        geometries=tuple(sample.geometry for sample in intact if sample.geometry is not None),
    )


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

    An error in a worker is raised here with the same exception type. Its text is the worker's traceback, so the last
    line is the original message.

    Args:
        dataset: from `open_images`.
        batch_size: images per batch, before broken ones are left out.
        workers: number of loader processes, which live as long as the loader; 0 loads in this process.
        collate: makes a batch from samples.
        process: index of this process, from 0. Every process loads another part of the dataset.
        processes: number of processes. All load the same number of batches; the last batch of a process may be empty.
    """
    share = range(process, len(dataset), processes)
    starts = range(0, math.ceil(len(dataset) / processes), batch_size)
    batches = [share[start : start + batch_size] for start in starts]
    return _loader(dataset, batches=batches, workers=workers, collate=collate)


def train_loader(
    dataset: DrawnImages, *, batches: SeededBatches, workers: int = 0, collate: Collate = collate_classes
) -> DataLoader[Batch]:
    """Load the batches that a sampler draws. Order and augmentation do not depend on the number of workers."""
    return _loader(dataset, batches=batches, workers=workers, collate=collate)


def _leave_group(worker: int) -> None:
    """Move a loader worker out of the training's process group, so that Ctrl-C does not end the worker.

    Ctrl-C goes to the whole process group. The training may still finish a step, and it needs the worker for that.
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
    # torch's type of a loader names its samples, not what the collate function makes of them.
    return cast("DataLoader[Batch]", loader)
