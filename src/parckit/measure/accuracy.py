"""Classification accuracy of anything that turns images into logits."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torchmetrics import MetricCollection
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from parckit.contract import InputError
from parckit.data import Batch
from parckit.runtimes import Images, Logits


@dataclass(frozen=True, kw_only=True, slots=True)
class Accuracy:
    """What an evaluation found.

    Attributes:
        top1: share of images whose best class is right, percent.
        top5: share of images whose true class is among the best five (or among all, where there are fewer), percent.
        confusion: (C, C) int64, number of images by true class (row) and best class (column).
        images: number of images evaluated.
        skipped: broken images that were left out.
    """

    top1: float
    top5: float
    confusion: npt.NDArray[np.int64]
    images: int
    skipped: int


def evaluate(predict: Callable[[Images], Logits], batches: Iterable[Batch], *, num_classes: int) -> Accuracy:
    """Count how often `predict` is right.

    Args:
        predict: a session, or any function from (B, 3, H, W) images to (B, num_classes) logits.
        batches: images with their true classes.
        num_classes: classes of the data.

    Raises:
        InputError: if there is not one image, one class only, or `predict` tells another number of classes apart.
    """
    if num_classes < 2:
        raise InputError(f"num_classes={num_classes}: need at least 2 to tell apart")
    metrics = MetricCollection(
        {
            "top5": MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro"),
            "confusion": MulticlassConfusionMatrix(num_classes),
        },
        # Grouping would run each metric an extra time on the first batch to find that these share no state.
        compute_groups=False,
    )
    images = skipped = 0
    for batch in batches:
        skipped += batch.skipped
        if not len(batch.targets):
            continue
        logits = predict(batch.images.numpy())
        if logits.shape[1] != num_classes:
            raise InputError(f"num_classes={num_classes} in the data, but the model has {logits.shape[1]} classes")
        metrics.update(torch.from_numpy(logits), batch.targets)
        images += len(batch.targets)
    if not images:
        raise InputError(f"no images to evaluate ({skipped} broken ones were skipped)")
    found = metrics.compute()
    confusion = found["confusion"].numpy()
    return Accuracy(
        # From whole numbers of images: torchmetrics divides in float32.
        top1=100 * float(confusion.trace()) / images,
        top5=100 * round(found["top5"].item() * images) / images,
        confusion=confusion,
        images=images,
        skipped=skipped,
    )
