"""Which boxes that a detector found belong to which objects: for the confusion matrix and for drawings."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from parckit.data import Objects, Scene
from parckit.processing import BoxPrediction, box_areas, box_iou, intersections

_HALF = 0.5
"""Intersection over union from which a box counts as found."""
SURE = 0.3
"""Boxes with a larger score count: those that `parckit predict` shows by default."""


class BoxComparison(NamedTuple):
    """The boxes found in a picture beside its objects. Unsure boxes and crowds do not count.

    Attributes:
        boxes: boxes found, in the unit of the prediction.
        labels: their classes.
        true_boxes: boxes of the objects.
        true_labels: their classes.
        rows: indices of the objects that were found.
        columns: indices of the boxes that belong to them, in the same order.

    Shape:
        boxes: (M, 4)
        labels: (M,)
        true_boxes: (N, 4)
        true_labels: (N,)
        rows: (K,)
        columns: (K,)
    """

    boxes: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    true_boxes: npt.NDArray[np.float32]
    true_labels: npt.NDArray[np.int64]
    rows: npt.NDArray[np.intp]
    columns: npt.NDArray[np.intp]

    def confusion(self, classes: int) -> npt.NDArray[np.int64]:
        """Return how often an object of a class (row) was found as one of a class (column); the last is the background.

        Shape:
            (classes + 1, classes + 1)
        """
        counts = np.zeros((classes + 1, classes + 1), dtype=np.int64)
        np.add.at(counts, (self.true_labels[self.rows], self.labels[self.columns]), 1)
        counts[:-1, -1] = np.bincount(np.delete(self.true_labels, self.rows), minlength=classes)
        counts[-1, :-1] = np.bincount(np.delete(self.labels, self.columns), minlength=classes)
        return counts


def objects_in_picture(scene: Scene) -> Objects:
    """Return the objects of a scene in pixels of its picture.

    Raises:
        ValueError: if the scene has none, as in training.
    """
    if scene.in_picture is None:
        raise ValueError("targets: have no objects in pixels of the picture")
    return scene.in_picture


def compare_boxes(prediction: BoxPrediction, objects: Objects) -> BoxComparison:
    """Pair the boxes found with the objects of a picture.

    A box and an object belong together if they overlap at least by half. The pairs with the largest overlap are made
    first, whatever their classes. A box without an object that lies at least by half on a crowd of its class is left
    out, as COCO does it.

    Args:
        prediction: boxes in pixels of the picture.
        objects: the truth, in the same pixels.
    """
    crowd = objects.crowd.cpu().numpy()
    truth, classes = objects.boxes.cpu().numpy(), objects.labels.cpu().numpy()
    sure = prediction.scores > SURE
    boxes, labels = prediction.boxes[sure], prediction.labels[sure]
    rows, columns = _pair(truth[~crowd], boxes)
    # Leave out what lies on crowds.
    share = intersections(boxes, truth[crowd]) / np.maximum(box_areas(boxes), np.finfo(np.float32).tiny)[:, None]
    counts = ~((share >= _HALF) & (labels[:, None] == classes[crowd])).any(axis=1)
    counts[columns] = True
    columns = np.cumsum(counts)[columns] - 1
    return BoxComparison(boxes[counts], labels[counts], truth[~crowd], classes[~crowd], rows, columns)


def _pair(
    true: npt.NDArray[np.float32], detected: npt.NDArray[np.float32]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return the indices of true boxes and of the found boxes that belong to them, pair by pair."""
    overlap = box_iou(true, detected)
    rows, columns = np.nonzero(overlap >= _HALF)
    is_free = np.ones(len(true), dtype=np.bool_), np.ones(len(detected), dtype=np.bool_)
    pairs: list[int] = []
    for index in np.argsort(-overlap[rows, columns], kind="stable").tolist():
        row, column = rows[index], columns[index]
        if is_free[0][row] and is_free[1][column]:
            is_free[0][row] = is_free[1][column] = False
            pairs.append(index)
    return rows[pairs], columns[pairs]
