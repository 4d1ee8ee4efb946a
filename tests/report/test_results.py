import numpy as np
import pytest
import torch

from parckit.contract import InputError
from parckit.measure.classification import confusion_tables
from parckit.measure.evaluators import EVALUATORS
from parckit.processing import LabelPrediction, LabelScore
from parckit.report.results import RESULT_VIEWS, result_view, worst_rows

TABLES = confusion_tables(np.array([[2, 1, 0], [0, 0, 0], [3, 0, 0]]))


def test_every_task_that_can_be_evaluated_can_be_shown():
    assert RESULT_VIEWS.keys() == EVALUATORS.keys()


def test_classes_have_a_row_and_the_worst_come_first():
    rows = result_view("classify").class_rows(TABLES, ("cat", "dog", "owl"))
    assert [row[:3] for row in rows] == [
        ("cat", 3, (40.0, 200 / 3, 50.0)),
        ("dog", 0, (0.0, None, None)),
        ("owl", 3, (None, 0.0, 0.0)),
    ]
    assert [row.label for row in worst_rows(rows, most=3)] == ["owl", "cat", "dog"]
    assert [row.label for row in worst_rows(rows, most=1)] == ["owl"]


def test_the_picture_is_described_in_words():
    assert result_view("classify").pictures[0].describe(TABLES) == "2 of 6 images lie on the diagonal."


def test_rows_of_labels_have_further_numbers():
    tables = {f"class_{name}": np.array([50.0, np.nan]) for name in ("precision", "recall", "f1", "ap")}
    tables |= {"class_images": np.array([4, 0]), "class_best_threshold": np.array([0.25, np.nan])}
    rows = result_view("multilabel").class_rows(tables, ("cat", "dog"))
    assert [row.values for row in rows] == [(0.25,), (None,)]
    assert "1 classes lies between 50 and 50 %" in result_view("multilabel").pictures[0].describe(tables)


@pytest.mark.parametrize(
    ("target", "judgement"),
    [
        ([1, 0, 0], ("cat", "cat, dog", 0.8, False)),  # the dog is wrong
        ([1, 1, 1], ("cat, dog, owl", "cat, dog", 0.7, False)),  # the owl is missing
        ([0, 0, 1], ("owl", "cat, dog", 0.9, False)),  # of three mistakes, the surest one counts
        ([1, 1, 0], ("cat, dog", "cat, dog", 0.7, True)),  # the least sure part of a right answer
        ([0, 0, 0], ("no label", "cat, dog", 0.9, False)),
    ],
)
def test_an_answer_with_several_labels_is_as_bad_as_its_worst_part(target, judgement):
    shares = {"cat": 0.9, "dog": 0.8, "owl": 0.3}
    answer = LabelPrediction(ranking=tuple(LabelScore(*pair, i, 0.5) for i, pair in enumerate(shares.items())))
    assert result_view("multilabel").judge(answer, torch.tensor(target), tuple(shares)) == pytest.approx(judgement)


def test_the_confusion_matrix_of_a_detector_is_drawn_and_described():
    tables = {"confusion": np.array([[5, 1, 2], [0, 3, 1], [4, 0, 0]])}
    curves, picture = result_view("detect").pictures
    assert "2 classes lies between 40 and 60 %" in curves.describe({"class_ap_50": np.array([60.0, np.nan, 40.0])})
    assert picture.describe(tables) == "8 of 12 objects lie on the diagonal; 3 were missed, 4 invented."
    axes, *_ = picture.draw(tables, ("cat", "dog")).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == ["cat", "dog", "background"]


def test_a_task_without_a_view_is_refused():
    with pytest.raises(InputError, match="task='fly'"):
        result_view("fly")  # type: ignore[arg-type]
