"""The metric of classification: top-1, top-5, the confusion matrix and rates of every class."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from parckit.contract import InputError
from parckit.processing import ClassPrediction


class ClassRates(NamedTuple):
    """How well the images of every class are recognised, percent. A rate without an image to count is NaN.

    Attributes:
        images: number of images of the class.
        precision: share of right answers among all answers that name the class.
        recall: share of right answers among all images of the class.
        f1: harmonic mean of precision and recall; 0 if no answer that names the class is right.

    Shape:
        all: (classes,)
    """

    images: npt.NDArray[np.int64]
    precision: npt.NDArray[np.float64]
    recall: npt.NDArray[np.float64]
    f1: npt.NDArray[np.float64]


def class_rates(confusion: npt.NDArray[np.int64]) -> ClassRates:
    """Return the rates of every class.

    A class without images has no recall and no F1. A class that no answer names has no precision.

    Args:
        confusion: number of images by true class (row) and best class (column).

    Shape:
        confusion: (classes, classes)
    """
    right, images, answers = confusion.diagonal(), confusion.sum(axis=1), confusion.sum(axis=0)
    return ClassRates(
        images=images,
        precision=percent(right, answers),
        recall=percent(right, images),
        f1=np.where(images > 0, percent(2 * right, images + answers), np.nan),
    )


def confusion_tables(confusion: npt.NDArray[np.int64]) -> dict[str, npt.NDArray[np.generic]]:
    """Return a confusion matrix and the rates of every class by name.

    `confusion`, (classes, classes), is the number of images by true class (row) and best class (column).
    `class_images`, `class_precision`, `class_recall` and `class_f1`, (classes,), are those of `ClassRates`.
    """
    rates = class_rates(confusion)._asdict()
    return {"confusion": confusion, **{f"class_{name}": column for name, column in rates.items()}}


def percent(part: npt.NDArray[np.int64], whole: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
    """Return shares in percent; NaN where the whole is 0."""
    return np.where(whole > 0, 100 * part / np.maximum(whole, 1), np.nan)


class ClassificationMetric(Metric):
    """Count how often the best class, and one of the best five classes, is right.

    In training the counts are summed over all processes.

    Args:
        num_classes: number of classes in the data, at least 2.

    Raises:
        InputError: if there are fewer than 2 classes.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes={num_classes}: need at least 2 to tell apart")
        # Without validate_args=False, checking the arguments would make the CPU wait for the GPU at every batch.
        self._confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self.add_state("_top5_hits", torch.zeros((), dtype=torch.int64), dist_reduce_fx="sum")
        self._top5_hits: Tensor

    def update(self, predictions: Sequence[ClassPrediction], targets: Tensor) -> None:
        """Count the images of a batch.

        Args:
            predictions: the answers; each ranks five classes, or all of them if there are fewer.
            targets: the true classes.

        Shape:
            targets: (B,)
        """
        ranked = torch.tensor([[score.class_index for score in answer.ranking] for answer in predictions])
        ranked = ranked.to(targets.device)
        self._confusion.update(ranked[:, 0], targets)
        self._top5_hits += (ranked[:, :5] == targets[:, None]).sum()

    def compute(self) -> dict[str, float]:
        """Return `top1` and `top5`, percent. With fewer than five classes, top-5 counts all of them.

        Raises:
            InputError: if no image was counted.
        """
        confusion = self._counts()
        images = int(confusion.sum())
        if not images:
            raise InputError("no images to evaluate")
        return {"top1": 100 * int(confusion.trace()) / images, "top5": 100 * int(self._top5_hits) / images}

    def tables(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the confusion matrix and the rates of every class, as `confusion_tables` does."""
        return confusion_tables(self._counts())

    def _counts(self) -> npt.NDArray[np.int64]:
        return self._confusion.compute().cpu().numpy()

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self._confusion.reset()
