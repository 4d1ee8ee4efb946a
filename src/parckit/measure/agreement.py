"""How far two engines give the same answers for the same pictures, after decoding."""

from collections.abc import Sequence
from typing import cast

from parckit.contract import Task
from parckit.measure.parity import compare_class_maps, compare_detections
from parckit.processing import BoxPrediction, ClassPrediction, LabelPrediction, MaskPrediction, Prediction


def agreement(task: Task, expected: Sequence[Prediction], actual: Sequence[Prediction]) -> float:
    """Return the mean share, from 0 to 1, of a picture's answer that two engines have in common.

    It is, for one class a picture: whether the most probable class is the same; for several labels a picture: whether
    the labels are the same; for boxes: the share of all boxes that have a partner, see `compare_detections`; for masks:
    the share of the pixels with the same class.

    Args:
        task: the network's task.
        expected: the answers of one engine.
        actual: those of the other one, for the same pictures.
    """
    shares = [_share(task, one, other) for one, other in zip(expected, actual, strict=True)]
    return sum(shares) / len(shares)


def _share(task: Task, one: Prediction, other: Prediction) -> float:
    match task:
        case "classify":
            return float(_best(one) == _best(other))
        case "multilabel":
            return float(set(cast("LabelPrediction", one).labels) == set(cast("LabelPrediction", other).labels))
        case "detect":
            boxes, others = cast("BoxPrediction", one), cast("BoxPrediction", other)
            pair = ((answer.boxes, answer.scores, answer.labels) for answer in (boxes, others))
            return 1 - compare_detections(*pair).max_abs
        case "segment":
            masks = (cast("MaskPrediction", answer).mask for answer in (one, other))
            return 1 - compare_class_maps(*masks).max_abs


def _best(answer: Prediction) -> int:
    return cast("ClassPrediction", answer).ranking[0].class_index
