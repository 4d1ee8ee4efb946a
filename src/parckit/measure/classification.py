"""The metric of classification: top-1, top-5 and the confusion matrix. Training and all engines use it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassConfusionMatrix

from parckit.contract import InputError
from parckit.processing import ClassPrediction


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
        confusion = self.tables()["confusion"]
        images = int(confusion.sum())
        if not images:
            raise InputError("no images to evaluate")
        return {"top1": 100 * int(confusion.trace()) / images, "top5": 100 * int(self._top5_hits) / images}

    def tables(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return `confusion`, (classes, classes): the number of images by true class (row) and best class (column)."""
        return {"confusion": self._confusion.compute().cpu().numpy()}

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self._confusion.reset()
