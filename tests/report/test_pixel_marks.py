import numpy as np
import pytest
import torch

from parckit.data import PixelClasses
from parckit.processing import IGNORED, Geometry, MaskPrediction, class_colours
from parckit.report.results import result_view

LABELS = ("road", "sky", "tree")
TRUTH = np.array([[0, 0, 0, 0, 0, 1, 1, 1, IGNORED, IGNORED]], np.uint8)
SAME = Geometry(picture_size=(1, 10), input_size=(1, 10), scale=(1.0, 1.0), offset=(0.0, 0.0))


def pair(mask: np.ndarray, truth: np.ndarray = TRUTH) -> tuple[MaskPrediction, PixelClasses]:
    return MaskPrediction(mask=mask, names=LABELS), PixelClasses(torch.from_numpy(truth), torch.from_numpy(truth))


def test_pictures_with_more_wrong_pixels_are_worse_and_mistakes_are_named():
    answer, target = pair(np.array([[0, 0, 0, 2, 2, 1, 1, IGNORED, 0, 0]], np.uint8))
    truth, told, share, is_right = result_view("segment").judge(answer, target, LABELS)
    assert (truth, told) == ("road: 62.5 %, sky: 37.5 %", "road as tree: 25.0 %, sky as no answer: 12.5 %")
    assert share == pytest.approx(3 / 8)
    assert not is_right


def test_unknown_pixels_are_never_wrong():
    right, target = pair(np.where(TRUTH == IGNORED, np.uint8(2), TRUTH))
    assert result_view("segment").judge(right, target, LABELS)[1:] == ("all pixels right", 0, True)
    unknown = np.full_like(TRUTH, IGNORED)
    assert result_view("segment").judge(*pair(TRUTH, unknown), LABELS) == ("unknown", "all pixels right", 0, True)


def test_wrong_pixels_stand_out():
    answer, target = pair(np.array([[0, 0, 0, 2, 2, 1, 1, 1, 0, 0]], np.uint8))
    grey = np.full((1, 10, 3), 100, np.uint8)
    drawn = result_view("segment").mark(grey, answer, target, SAME)
    upper, lower = drawn[0], drawn[-1]
    assert drawn.shape == (6, 10, 3)
    colours = np.array(class_colours())
    np.testing.assert_array_equal(upper[3:5], colours[[2, 2]])
    np.testing.assert_array_equal(lower[3:5], colours[[0, 0]])
    np.testing.assert_allclose(upper[0], (100 + colours[0]) / 2, atol=1)
    np.testing.assert_array_equal(upper[[0, 1, 2, 5, 6, 7]], lower[[0, 1, 2, 5, 6, 7]])
    # Pixels that nobody knows are white: half of the picture shines through.
    np.testing.assert_allclose(upper[8:], 177.5, atol=1)


def test_only_wrong_background_has_a_colour():
    classes = np.zeros((1, 10), np.uint8)
    wrong = classes.copy()
    wrong[0, 0] = 1
    answer = MaskPrediction(mask=classes, names=("background", "cat"))
    target = PixelClasses(torch.from_numpy(wrong), torch.from_numpy(wrong))
    drawn = result_view("segment").mark(np.full((1, 10, 3), 100, np.uint8), answer, target, SAME)
    assert drawn[0, 0].tolist() == list(class_colours()[0])
    assert (drawn[0, 1:] == 100).all()


def test_pictures_are_marked_where_the_network_saw_them():
    # The input shows the picture in its middle, twice as large, with padding above and below.
    geometry = Geometry(picture_size=(2, 4), input_size=(8, 8), scale=(2.0, 2.0), offset=(-2.0, 0.0))
    truth = np.array([[0, 0, 1, 1]] * 2, np.uint8)
    drawn = result_view("segment").mark(np.zeros((8, 8, 3), np.uint8), *pair(truth, truth), geometry)
    assert drawn.shape == (8, 20, 3)
    halves = np.array(class_colours()) / 2
    np.testing.assert_allclose(drawn[2:6, 0], halves[[0] * 4], atol=1)
    np.testing.assert_allclose(drawn[2:6, 7], halves[[1] * 4], atol=1)


@pytest.mark.parametrize("unseen", [0, 3])
def test_the_confusion_matrix_of_pixels_is_drawn_and_described(unseen):
    confusion = np.array([[90, 10, 0, 0], [5, 20, 0, unseen], [0, 0, 40, 0]])
    (picture,) = result_view("segment").pictures
    axes = picture.draw({"confusion": confusion}, LABELS).axes[0]
    assert {text.get_text() for text in axes.texts} >= {"90", "10", "100"}
    assert [tick.get_text() for tick in axes.get_xticklabels()] == [*LABELS, *["no answer"] * bool(unseen)]
    assert f"150 of {165 + unseen} pixels" in picture.describe({"confusion": confusion})
