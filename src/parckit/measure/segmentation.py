"""The metric of segmentation: intersection over union of classes, also near their boundaries, and accuracies."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric

from parckit.contract import InputError
from parckit.data import PixelClasses
from parckit.measure.classification import percent
from parckit.processing import IGNORED, MaskPrediction

_BOUNDARY = 0.02
"""Width of a boundary as a share of the picture's diagonal, as in arXiv:2103.16562."""


class SegmentationMetric(Metric):
    """Count the pixels of all pictures by true class and answer, and those near the boundaries of classes.

    A pixel whose true class nobody knows (IGNORED) does not count. A pixel without an answer counts as wrong. In
    training the counts are summed over all processes.

    Args:
        num_classes: number of classes.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if not 1 <= num_classes <= IGNORED:
            raise InputError(f"num_classes={num_classes}: must be from 1 to {IGNORED}")
        self._classes = num_classes
        # The last column counts pixels without an answer.
        counts = torch.zeros(num_classes, num_classes + 1, dtype=torch.int64)
        self.add_state("_confusion", counts, dist_reduce_fx="sum")
        self._confusion: Tensor
        # Rows: pixels near a boundary in the truth, in the answer, and in both with the same class.
        self.add_state("_near", torch.zeros(3, num_classes, dtype=torch.int64), dist_reduce_fx="sum")
        self._near: Tensor

    def update(self, predictions: Sequence[MaskPrediction], targets: Sequence[PixelClasses]) -> None:
        """Add the pixels of a batch.

        Args:
            predictions: classes of the pixels of the pictures.
            targets: ground truth; the pixels of the pictures count.

        Raises:
            ValueError: if a target has no pixels of the picture, or a size differs from the answer's.
        """
        for prediction, target in zip(predictions, targets, strict=True):
            truth = true_classes(target)
            if truth.shape != prediction.mask.shape:
                raise ValueError(f"the truth has the shape {truth.shape}, the answer {prediction.mask.shape}")
            # Pixels whose true class nobody knows are taken out of the answer, too. Otherwise the answer could have
            # boundaries inside such an area, where the truth has none.
            answer = np.where(truth == IGNORED, np.uint8(IGNORED), prediction.mask)
            self._confusion += torch.from_numpy(self._count(truth, answer)).to(self._confusion.device)
            self._near += torch.from_numpy(self._count_boundaries(truth, answer)).to(self._near.device)

    def compute(self) -> dict[str, float]:
        """Return the scalars in percent.

        `miou` is the mean intersection over union of the classes that occur in the truth or in an answer.
        `mean_accuracy` is the mean share of right pixels over the classes that occur in the truth, `pixel_accuracy` the
        share of right pixels of all. `boundary_iou` (arXiv:2103.16562) is like `miou`, but only pixels near a boundary
        of their class count: within 2 % of the picture's diagonal.

        Raises:
            InputError: if no pixel has a true class.
        """
        confusion = self._counts()
        if not confusion.any():
            raise InputError("no pixel to evaluate: the masks have no class anywhere")
        rates = self._rates()
        return {
            "miou": float(np.nanmean(rates["class_iou"])),
            "mean_accuracy": float(np.nanmean(rates["class_accuracy"])),
            "pixel_accuracy": 100 * int(confusion.trace()) / int(confusion.sum()),
            "boundary_iou": float(np.nanmean(rates["class_boundary_iou"])),
        }

    def tables(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the results of every class and the confusion matrix.

        `class_pixels`, (classes,), is the number of pixels of the class in the truth. `class_iou`, `class_accuracy` and
        `class_boundary_iou`, (classes,), are percent; NaN where there is nothing to count. `confusion`,
        (classes, classes + 1), counts pixels by true class (row) and answer (column); the last column counts those
        without an answer.
        """
        confusion = self._counts()
        return {"class_pixels": confusion.sum(axis=1), **self._rates(), "confusion": confusion}

    def _rates(self) -> dict[str, npt.NDArray[np.float64]]:
        confusion = self._counts()
        right, pixels = confusion.diagonal(), confusion.sum(axis=1)
        answers = confusion.sum(axis=0)[: self._classes]
        near_truth, near_answer, shared = self._near.cpu().numpy()
        return {
            "class_iou": percent(right, pixels + answers - right),
            "class_accuracy": percent(right, pixels),
            "class_boundary_iou": percent(shared, near_truth + near_answer - shared),
        }

    def _counts(self) -> npt.NDArray[np.int64]:
        return self._confusion.cpu().numpy()

    def _count(self, truth: npt.NDArray[np.uint8], answer: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the number of pixels by true class and answer.

        Shape:
            (H, W), (H, W) -> (classes, classes + 1)
        """
        columns = self._classes + 1
        known = truth != IGNORED
        pairs = truth[known].astype(np.int64) * columns + np.minimum(answer[known], self._classes)
        return np.bincount(pairs, minlength=self._classes * columns).reshape(self._classes, columns)

    def _count_boundaries(self, truth: npt.NDArray[np.uint8], answer: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
        """Return the number of pixels near a boundary by class: in the truth, in the answer, and in both.

        Shape:
            (H, W), (H, W) -> (3, classes)
        """
        near_truth, near_answer = near_boundary(truth), near_boundary(answer)
        shared = near_truth & near_answer & (truth == answer)
        parts = (truth[near_truth], answer[near_answer], truth[shared])
        # IGNORED is not among the classes; its pixels are cut off.
        return np.stack([np.bincount(part, minlength=IGNORED + 1)[: self._classes] for part in parts])


def true_classes(target: PixelClasses) -> npt.NDArray[np.uint8]:
    """Return the true classes of the pixels of the picture.

    Raises:
        ValueError: if the target does not have them.
    """
    if target.in_picture is None:
        raise ValueError("targets: have no classes for the pixels of the picture")
    return target.in_picture.cpu().numpy()


def near_boundary(classes: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """Return which pixels lie near a boundary of their class; the picture's border is a boundary, too.

    A pixel is near if a square around it shows another class. The square reaches 2 % of the picture's diagonal in every
    direction, at least one pixel. arXiv:2103.16562 erodes the mask of every class to find these pixels. All
    classes at once are much faster: a square shows two classes if two neighbours in it differ.

    Shape:
        (H, W) -> (H, W)
    """
    reach = max(1, round(_BOUNDARY * float(np.hypot(*classes.shape))))
    padded = np.pad(classes, reach, constant_values=IGNORED)
    upright = _any_in_window(_any_in_window(padded[1:] != padded[:-1], 2 * reach, axis=0), 2 * reach + 1, axis=1)
    level = _any_in_window(_any_in_window(padded[:, 1:] != padded[:, :-1], 2 * reach + 1, axis=0), 2 * reach, axis=1)
    return upright | level


def _any_in_window(flags: npt.NDArray[np.bool_], length: int, *, axis: int) -> npt.NDArray[np.bool_]:
    """Return whether one of `length` neighbours along an axis is True, for every place of the window."""
    flags, covered = flags.swapaxes(0, axis), 1
    while covered < length:
        # Two windows of this length, one moved, make a longer one.
        step = min(covered, length - covered)
        flags, covered = flags[:-step] | flags[step:], covered + step
    return flags.swapaxes(0, axis)
