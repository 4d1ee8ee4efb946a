"""The metric of classification: what it counts, and that processes of a training add up."""

import numpy as np
import pytest
import torch
from sklearn.metrics import precision_recall_fscore_support

from parckit.contract import InputError
from parckit.measure.classification import ClassificationMetric, class_rates
from parckit.processing import ClassPrediction, ClassScore


def ranked(*order: int) -> ClassPrediction:
    """Return an answer whose best class is order[0], and so on."""
    return ClassPrediction(ranking=tuple(ClassScore(str(index), 0.0, index) for index in order))


def counted(predictions: list[ClassPrediction], targets: list[int], *, classes: int) -> ClassificationMetric:
    metric = ClassificationMetric(classes)
    metric.update(predictions, torch.tensor(targets))
    return metric


def test_counts_of_three_classes():
    metric = counted([ranked(0, 1, 2), ranked(2, 1, 0)], [0, 1], classes=3)
    metric.update([ranked(2, 0, 1), ranked(0, 2, 1)], torch.tensor([2, 2]))
    # All three classes are among the best five.
    assert metric.compute() == {"top1": 50, "top5": 100}
    confusion = metric.tables()["confusion"]
    # Rows are true classes, columns the best ones.
    np.testing.assert_array_equal(confusion, [[1, 0, 0], [0, 0, 1], [1, 0, 1]])
    assert confusion.dtype == np.int64


def test_rates_of_every_class_are_those_of_scikit_learn():
    truths, answers = np.random.default_rng(0).integers(0, 5, (2, 200))
    metric = counted(
        [ranked(answer, *{*range(6)} - {answer}) for answer in answers.tolist()], truths.tolist(), classes=6
    )
    # No image is of class 5, and no answer names it.
    expected = precision_recall_fscore_support(truths, answers, labels=range(6), zero_division=np.nan)
    tables = metric.tables()
    for name, column in zip(("precision", "recall", "f1"), expected[:3], strict=True):
        np.testing.assert_allclose(tables[f"class_{name}"], 100 * column, rtol=1e-12)  # a few roundings
    np.testing.assert_array_equal(tables["class_images"], expected[3])


def test_a_rate_without_images_has_no_value():
    images, *rates = class_rates(np.array([[2, 1, 0], [0, 0, 0], [3, 0, 0]]))
    np.testing.assert_array_equal(images, [3, 0, 3])
    np.testing.assert_array_equal(rates, [[40, 0, np.nan], [200 / 3, np.nan, 0], [50, np.nan, 0]])


def test_top5_looks_at_five_of_many():
    right_at = [ranked(*range(9, 9 - place, -1), 0, *range(1, 10 - place)) for place in range(8)]
    assert counted(right_at, [0] * 8, classes=10).compute() == {"top1": 100 / 8, "top5": 500 / 8}


def test_shares_come_from_whole_numbers_of_images():
    """In float32, 2 of 3 would be 66.6666687 %."""
    answers = [ranked(label, 1 - label) for label in (0, 0, 1)]
    assert counted(answers, [0, 0, 0], classes=2).compute()["top1"] == 100 * 2 / 3


def test_a_reset_metric_begins_anew():
    metric = counted([ranked(1, 0)] * 3, [0, 0, 0], classes=2)
    metric.reset()
    metric.update([ranked(0, 1)], torch.tensor([0]))
    assert metric.compute() == {"top1": 100, "top5": 100}
    assert metric.tables()["confusion"].sum() == 1


def test_what_cannot_be_counted_is_refused():
    with pytest.raises(InputError, match="num_classes=1: need at least 2"):
        ClassificationMetric(1)
    # torchmetrics warns of a metric that has seen nothing; the error says more.
    with pytest.warns(UserWarning, match="before the ``update`` method"), pytest.raises(InputError, match="no images"):
        ClassificationMetric(2).compute()
