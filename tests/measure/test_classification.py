"""The metric of classification: what it counts, and that processes of a training add up."""

import numpy as np
import pytest
import torch

from parckit.contract import InputError
from parckit.measure.classification import ClassificationMetric


def ranked(*order: int, classes: int) -> list[float]:
    """Return logits whose best class is order[0], and so on."""
    scores = [-100.0] * classes
    for place, label in enumerate(order):
        scores[label] = -float(place)
    return scores


def counted(logits: list[list[float]], targets: list[int], *, classes: int) -> ClassificationMetric:
    metric = ClassificationMetric(classes)
    metric.update([torch.tensor(logits)], torch.tensor(targets))
    return metric


def test_counts_of_three_classes():
    metric = counted([ranked(0, 1, 2, classes=3), ranked(2, 1, 0, classes=3)], [0, 1], classes=3)
    metric.update([torch.tensor([ranked(2, 0, 1, classes=3), ranked(0, 2, 1, classes=3)])], torch.tensor([2, 2]))
    # All three classes are among the best five.
    assert metric.compute() == {"top1": 50, "top5": 100}
    confusion = metric.tables()["confusion"]
    # Rows are true classes, columns the best ones.
    np.testing.assert_array_equal(confusion, [[1, 0, 0], [0, 0, 1], [1, 0, 1]])
    assert confusion.dtype == np.int64


def test_top5_looks_at_five_of_many():
    right_at = [ranked(*range(9, 9 - place, -1), 0, classes=10) for place in range(8)]
    assert counted(right_at, [0] * 8, classes=10).compute() == {"top1": 100 / 8, "top5": 500 / 8}


def test_shares_come_from_whole_numbers_of_images():
    """torchmetrics divides in float32, where 2 of 3 is 66.6666687 %."""
    logits = [ranked(label, classes=2) for label in (0, 0, 1)]
    assert counted(logits, [0, 0, 0], classes=2).compute()["top1"] == 100 * 2 / 3


def test_a_reset_metric_begins_anew():
    metric = counted([ranked(1, classes=2)] * 3, [0, 0, 0], classes=2)
    metric.reset()
    metric.update([torch.tensor([ranked(0, classes=2)])], torch.tensor([0]))
    assert metric.compute()["top1"] == 100
    assert metric.tables()["confusion"].sum() == 1


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(InputError, match="num_classes=1: need at least 2"):
        ClassificationMetric(1)
    with pytest.raises(InputError, match="num_classes=5 in the data, but the model has 3 classes"):
        counted([ranked(0, classes=3)], [0], classes=5)
    # torchmetrics warns of a metric that has seen nothing; the error says more.
    with pytest.warns(UserWarning, match="before the ``update`` method"), pytest.raises(InputError, match="no images"):
        ClassificationMetric(2).compute()
