"""From samples to batches."""

from collections.abc import Sequence
from typing import NamedTuple, cast

import torch
from torch import Tensor
from torch.utils.data import DataLoader

from parckit.data.datasets import ImageDataset, Sample
from parckit.data.streams import StreamedImages


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
    dataset: ImageDataset,
    *,
    batch_size: int,
    workers: int = 0,
    shuffle: bool = False,
    seed: int = 0,
    drop_last: bool = False,
) -> DataLoader[Batch]:
    """Load batches.

    `seed` fixes the order and, with workers, the augmentation too: torch seeds every worker's generator from it, and
    torchvision's transforms draw from that one. Without workers they draw from the process's global generator. A stream
    is shuffled within each worker: the order of its shards, then a window of samples.

    An error in a worker arrives as the same exception type; the last line of its text is the original's.

    Args:
        dataset: from `open_images`.
        batch_size: images a batch, before broken ones are dropped.
        workers: loader processes, kept for the loader's life; 0 loads in this process.
        shuffle: give another order in every epoch.
        seed: of order and augmentation.
        drop_last: leave out a last batch that is not full.
    """
    streamed = isinstance(dataset, StreamedImages)
    loader = DataLoader(
        dataset.shuffled() if streamed and shuffle else dataset,
        batch_size=batch_size,
        shuffle=shuffle and not streamed,
        num_workers=workers,
        persistent_workers=workers > 0,
        collate_fn=collate,
        drop_last=drop_last,
        pin_memory=torch.cuda.is_available(),
        generator=torch.Generator().manual_seed(seed),
    )
    # torch types a loader by its samples, whatever the collate function makes of them.
    return cast("DataLoader[Batch]", loader)
