import numpy as np
import pytest

from parckit.data.targets import as_labels, count_images, count_unlabelled, labels_at, renumber, strata_of

CLASSES = np.array([0, 2, 2])
LABELS = np.array([[1, 0, 1], [0, 0, 0], [0, 1, 1]], dtype=np.bool_)
NAMES = ("ant", "bee", "cat")


def test_images_are_counted_by_class_and_by_label():
    assert count_images(CLASSES, classes=4).tolist() == [1, 0, 2, 0]
    assert count_images(LABELS, classes=3).tolist() == [1, 1, 2]
    assert (count_unlabelled(CLASSES), count_unlabelled(LABELS)) == (0, 1)


def test_a_class_is_one_label():
    np.testing.assert_array_equal(as_labels(CLASSES, classes=3), [[1, 0, 0], [0, 0, 1], [0, 0, 1]])
    assert as_labels(LABELS, classes=3) is LABELS


@pytest.mark.parametrize(
    ("targets", "named"), [(CLASSES, ["ant", "cat", "cat"]), (LABELS, ["ant, cat", "", "bee, cat"])]
)
def test_targets_are_told_in_words(targets, named):
    assert [labels_at(targets, index, names=NAMES) for index in range(3)] == named


def test_new_numbers_move_labels_and_lose_unknown_ones():
    numbers = np.array([1, -1, 3])
    assert renumber(CLASSES, numbers, classes=4).tolist() == [1, 3, 3]
    np.testing.assert_array_equal(renumber(LABELS, numbers, classes=4), [[0, 1, 0, 1], [0, 0, 0, 0], [0, 0, 0, 1]])


def test_a_picture_belongs_to_the_stratum_of_its_rarest_label():
    assert strata_of(LABELS).tolist() == [0, 3, 1]
