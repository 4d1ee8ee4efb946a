import numpy as np
import pytest

from parckit.contract import InputError
from parckit.measure.classification import confusion_tables
from parckit.measure.evaluators import EVALUATORS
from parckit.report.results import RESULT_VIEWS, result_view, worst_rows

TABLES = confusion_tables(np.array([[2, 1, 0], [0, 0, 0], [3, 0, 0]]))


def test_every_task_that_can_be_evaluated_can_be_shown():
    assert RESULT_VIEWS.keys() == EVALUATORS.keys()


def test_classes_have_a_row_and_the_worst_come_first():
    rows = result_view("classify").class_rows(TABLES, ("cat", "dog", "owl"))
    assert rows == [("cat", 3, (40.0, 200 / 3, 50.0)), ("dog", 0, (0.0, None, None)), ("owl", 3, (None, 0.0, 0.0))]
    assert [row.label for row in worst_rows(rows, most=3)] == ["owl", "cat", "dog"]
    assert [row.label for row in worst_rows(rows, most=1)] == ["owl"]


def test_the_picture_is_described_in_words():
    assert result_view("classify").describe(TABLES) == "2 of 6 images lie on the diagonal."


def test_a_task_without_a_view_is_refused():
    with pytest.raises(InputError, match="task='fly'"):
        result_view("fly")  # type: ignore[arg-type]
