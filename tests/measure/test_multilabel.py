"""The metric of several labels an image, compared with scikit-learn's."""

import numpy as np
import pytest
import torch
from sklearn.metrics import average_precision_score, f1_score, precision_score, recall_score

from parckit.contract import InputError
from parckit.measure.multilabel import LabelMetric
from parckit.processing import LabelPrediction, LabelScore

CLASSES = 5


def answers(scores: np.ndarray, *, threshold: float = 0.5) -> list[LabelPrediction]:
    return [
        LabelPrediction(
            ranking=tuple(LabelScore(str(i), float(row[i]), int(i), threshold) for i in np.argsort(-row, kind="stable"))
        )
        for row in scores
    ]


@pytest.fixture
def drawn() -> tuple[np.ndarray, np.ndarray]:
    """Return scores and truths of 300 images; no image has the last label."""
    rng = np.random.default_rng(0)
    truth = rng.random((300, CLASSES)) < [0.5, 0.2, 0.05, 0.9, 0.0]
    # Scores with two digits, so that many are equal.
    scores = np.round((0.3 + 0.4 * truth) * rng.random((300, CLASSES)) * 1.4, 2)
    return scores.astype(np.float32), truth


def measured(scores: np.ndarray, truth: np.ndarray, *, threshold: float = 0.5) -> LabelMetric:
    metric = LabelMetric(CLASSES)
    for part in (slice(0, 100), slice(100, None)):
        metric.update(answers(scores[part], threshold=threshold), torch.tensor(truth[part], dtype=torch.float32))
    return metric


def test_results_are_those_of_scikit_learn(drawn):
    scores, truth = drawn
    metric = measured(scores, truth, threshold=0.4)
    tables, scalars, told = metric.tables(), metric.compute(), scores >= 0.4
    seen = range(CLASSES - 1)
    expected = [100 * average_precision_score(truth[:, i], scores[:, i]) for i in seen]
    # torchmetrics adds float32 numbers.
    np.testing.assert_allclose(tables["class_ap"][:-1], expected, rtol=1e-5)
    assert scalars["map"] == pytest.approx(np.mean(expected), rel=1e-5)
    for name, function in (("precision", precision_score), ("recall", recall_score), ("f1", f1_score)):
        rates = 100 * function(truth, told, average=None, zero_division=np.nan)[:-1]
        np.testing.assert_allclose(tables[f"class_{name}"][:-1], rates, rtol=1e-12)  # a few roundings
    assert scalars["f1_macro"] == pytest.approx(100 * f1_score(truth[:, seen], told[:, seen], average="macro"))
    assert scalars["f1_micro"] == pytest.approx(100 * f1_score(truth, told, average="micro"))


def test_a_class_without_images_has_no_results(drawn):
    tables = measured(*drawn).tables()
    assert tables["class_images"].tolist() == drawn[1].sum(0).tolist()
    for name in ("ap", "recall", "f1", "best_threshold"):
        assert np.isnan(tables[f"class_{name}"]).tolist() == [False] * 4 + [True]


def test_no_other_threshold_gives_a_better_f1(drawn):
    scores, truth = drawn
    best = measured(scores, truth).tables()["class_best_threshold"]
    for index in range(CLASSES - 1):
        values = [f1_score(truth[:, index], scores[:, index] >= t) for t in np.unique(scores[:, index])]
        reached = f1_score(truth[:, index], scores[:, index] >= best[index])
        assert reached == pytest.approx(max(values))
        # No score lies at the threshold itself, where another engine's rounding would matter.
        assert best[index] == 0 or np.abs(scores[:, index] - best[index]).min() > 1e-3


def test_images_without_any_label_give_no_result():
    metric = LabelMetric(CLASSES)
    metric.update(answers(np.full((2, CLASSES), 0.5)), torch.zeros(2, CLASSES))
    with pytest.raises(InputError, match="no image to evaluate has a label"):
        metric.compute()


def test_it_begins_anew(drawn):
    metric = measured(*drawn)
    metric.reset()
    metric.update(answers(drawn[0][:50]), torch.tensor(drawn[1][:50], dtype=torch.float32))
    assert metric.tables()["class_images"].tolist() == drawn[1][:50].sum(0).tolist()


def test_a_process_without_images_takes_part(drawn):
    scores, truth = drawn
    other, empty = measured(scores, truth), LabelMetric(CLASSES)
    theirs = torch.cat(other._answers)
    # What torchmetrics does before `compute` in a training of several processes.
    empty._sync_dist(lambda ours, group: [ours, theirs])
    assert empty.tables()["class_ap"][:-1].tolist() == other.tables()["class_ap"][:-1].tolist()
