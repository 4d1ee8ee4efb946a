"""The metric of classification: top-1, top-5 and the confusion matrix. Training and all engines use it."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.classification import MulticlassAccuracy, MulticlassConfusionMatrix

from parckit.contract import InputError


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
        self.num_classes = num_classes
        # Without validate_args=False, checking the arguments would make the CPU wait for the GPU at every batch.
        self._confusion = MulticlassConfusionMatrix(num_classes, validate_args=False)
        self._top5 = MulticlassAccuracy(num_classes, top_k=min(5, num_classes), average="micro", validate_args=False)

    def update(self, outputs: Sequence[Tensor], targets: Tensor) -> None:
        """Count the images of a batch.

        Args:
            outputs: one tensor, the logits.
            targets: the true classes.

        Raises:
            InputError: if the number of logits is not the number of classes.

        Shape:
            outputs: one tensor, (B, classes)
            targets: (B,)
        """
        (logits,) = outputs
        if logits.shape[1] != self.num_classes:
            classes = f"{self.num_classes} in the data, but the model has {logits.shape[1]} classes"
            raise InputError(f"num_classes={classes}")
        self._confusion.update(logits, targets)
        self._top5.update(logits, targets)

    def compute(self) -> dict[str, float]:
        """Return `top1` and `top5`, percent. With fewer than five classes, top-5 counts all of them.

        Raises:
            InputError: if no image was counted.
        """
        confusion = self.tables()["confusion"]
        images = int(confusion.sum())
        if not images:
            raise InputError("no images to evaluate")
        # torchmetrics divides in float32. Restore the whole number of images and divide in float64.
        top5_hits = round(self._top5.compute().item() * images)
        return {"top1": 100 * int(confusion.trace()) / images, "top5": 100 * top5_hits / images}

    def tables(self) -> dict[str, npt.NDArray[np.int64]]:
        """Return `confusion`, (classes, classes): the number of images by true class (row) and best class (column)."""
        return {"confusion": self._confusion.compute().cpu().numpy()}

    def reset(self) -> None:
        """Begin anew."""
        super().reset()
        self._confusion.reset()
        self._top5.reset()
