"""The metric of several labels an image: average precision and rates of every class, and its best threshold."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.functional.classification import binary_average_precision, binary_precision_recall_curve

from parckit.contract import InputError
from parckit.measure.classification import percent
from parckit.processing import LabelPrediction

_COLUMNS = 3
"""What is kept of an answer for every class: its probability, whether it is present, and the truth."""


class LabelMetric(Metric):
    """Measure which labels are told, and how well every class is ranked.

    Average precision does not depend on the thresholds. F1, precision and recall are those of the answers, so they do.
    A mean over classes leaves out the classes that no image has. In training the results are those of all processes.

    Args:
        num_classes: number of classes in the data, at least 2.

    Raises:
        InputError: if there are fewer than 2 classes.
    """

    full_state_update = False

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        if num_classes < 2:
            raise InputError(f"num_classes={num_classes}: need at least 2 labels")
        self._num_classes = num_classes
        # Flat, because torchmetrics gives a flat part to processes that had no image.
        self.add_state("_answers", [], dist_reduce_fx="cat")
        self._answers: list[Tensor] | Tensor

    def update(self, predictions: Sequence[LabelPrediction], targets: Tensor) -> None:
        """Keep the answers of a batch.

        Args:
            predictions: the answers; each ranks all classes.
            targets: 1 where an image has a label, else 0.

        Shape:
            targets: (B, classes)
        """
        table = np.zeros((len(predictions), _COLUMNS, self._num_classes), np.float32)
        for row, prediction in enumerate(predictions):
            places = [score.class_index for score in prediction.ranking]
            table[row, 0, places] = [score.probability for score in prediction.ranking]
            table[row, 1, places] = [score.is_present for score in prediction.ranking]
        answers = torch.from_numpy(table).to(targets.device)
        answers[:, 2] = targets
        cast("list[Tensor]", self._answers).append(answers.flatten())

    def compute(self) -> dict[str, float]:
        """Return the mean average precision `map`, `f1_macro` and `f1_micro`, percent.

        `f1_macro` is the mean over the classes; `f1_micro` counts the labels of all classes together.

        Raises:
            InputError: if no image has a label.
        """
        tables = self.tables()
        if not tables["class_images"].any():
            raise InputError("no image to evaluate has a label")
        _, is_present, truth = self._kept()
        right, told = (is_present & truth).sum(), is_present.sum()
        return {
            "map": float(np.nanmean(tables["class_ap"].astype(np.float64))),
            "f1_macro": float(np.nanmean(tables["class_f1"].astype(np.float64))),
            "f1_micro": float(percent(2 * right, told + truth.sum())),
        }

    def tables(self) -> dict[str, npt.NDArray[np.generic]]:
        """Return the results of every class by name, (classes,).

        `class_images` is the number of images that have the label. `class_ap`, `class_precision`, `class_recall` and
        `class_f1` are percent. `class_best_threshold`, 0 to 1, is the threshold with the highest F1 on these images. A
        result without an image to count is NaN.
        """
        scores, is_present, truth = self._kept()
        images, told = truth.sum(axis=0), is_present.sum(axis=0)
        right = (is_present & truth).sum(axis=0)
        ap, best = (np.full(self._num_classes, np.nan) for _ in range(2))
        for index in np.flatnonzero(images):
            class_scores, class_truth = torch.from_numpy(scores[:, index]), torch.from_numpy(truth[:, index]).long()
            ap[index] = 100 * float(binary_average_precision(class_scores, class_truth))
            best[index] = _best_threshold(class_scores, class_truth)
        return {
            "class_images": images,
            "class_precision": percent(right, told),
            "class_recall": percent(right, images),
            "class_f1": np.where(images > 0, percent(2 * right, images + told), np.nan),
            "class_ap": ap,
            "class_best_threshold": best,
        }

    def _kept(self) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_], npt.NDArray[np.bool_]]:
        """Return probabilities, answers and truths, each (images, classes)."""
        answers = self._answers
        flat = torch.cat(answers) if isinstance(answers, list) and answers else torch.as_tensor(answers)
        kept = flat.reshape(-1, _COLUMNS, self._num_classes).cpu().float().numpy()
        return kept[:, 0], kept[:, 1] > 0, kept[:, 2] > 0


def _best_threshold(scores: Tensor, truth: Tensor) -> float:
    """Return the threshold of a class with the highest F1.

    It lies halfway between the last score that counts and the next lower one, so that a score that another engine
    rounds differently still counts.

    Shape:
        scores, truth: (images,)
    """
    precision, recall, thresholds = binary_precision_recall_curve(scores, truth)
    # The curve ends with precision 1 and recall 0, which no threshold gives.
    f1 = (2 * precision * recall / (precision + recall).clamp_min(1e-12))[:-1]
    threshold = float(thresholds[f1.argmax()])
    lower = scores[scores < threshold]
    return (threshold + (float(lower.max()) if len(lower) else 0.0)) / 2
