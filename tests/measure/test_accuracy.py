import numpy as np
import pytest
import torch

from parckit.contract import InputError
from parckit.data import Batch
from parckit.measure.accuracy import evaluate


def batch(logits: list[list[float]], targets: list[int], *, skipped: int = 0) -> Batch:
    """Images that carry their own logits: as channels of a 1 x 1 map."""
    images = torch.tensor(logits, dtype=torch.float32).reshape(len(targets), -1, 1, 1)
    return Batch(images=images, targets=torch.tensor(targets, dtype=torch.int64), skipped=skipped)


def read_out(images: np.ndarray) -> np.ndarray:
    return images[:, :, 0, 0]


def ranked(*order: int, classes: int) -> list[float]:
    """Logits whose best class is order[0], and so on."""
    scores = [-100.0] * classes
    for place, label in enumerate(order):
        scores[label] = -float(place)
    return scores


def test_counts_of_three_classes():
    batches = [
        batch([ranked(0, 1, 2, classes=3), ranked(2, 1, 0, classes=3)], [0, 1]),
        batch([ranked(2, 0, 1, classes=3), ranked(0, 2, 1, classes=3)], [2, 2], skipped=3),
    ]
    found = evaluate(read_out, batches, num_classes=3)
    assert found.top1 == pytest.approx(50)
    assert found.top5 == pytest.approx(100)  # All classes are among the best three.
    # Rows are true classes, columns the best ones.
    np.testing.assert_array_equal(found.confusion, [[1, 0, 0], [0, 0, 1], [1, 0, 1]])
    assert found.confusion.dtype == np.int64
    assert (found.images, found.skipped) == (4, 3)


def test_top5_looks_at_five_of_many():
    right_at = [ranked(*(order for order in range(9, 9 - place, -1)), 0, classes=10) for place in range(8)]
    found = evaluate(read_out, [batch(right_at, [0] * 8)], num_classes=10)
    assert found.top1 == pytest.approx(100 / 8)
    assert found.top5 == pytest.approx(500 / 8)


def test_batches_may_differ_in_size_without_bias():
    right, wrong = ranked(0, classes=2), ranked(1, classes=2)
    found = evaluate(read_out, [batch([right] * 3, [0] * 3), batch([wrong], [0])], num_classes=2)
    assert found.top1 == pytest.approx(75)


def test_batches_of_broken_images_alone_are_counted():
    empty = Batch(images=torch.empty(0, 2, 1, 1), targets=torch.empty(0, dtype=torch.int64), skipped=2)
    found = evaluate(read_out, [empty, batch([ranked(0, classes=2)], [0])], num_classes=2)
    assert (found.images, found.skipped, found.top1) == (1, 2, 100)


def test_no_images_are_refused():
    with pytest.raises(InputError, match="no images"):
        evaluate(read_out, [], num_classes=2)


def test_a_model_for_other_classes_is_refused():
    with pytest.raises(InputError, match="num_classes=5 in the data, but the model has 3 classes"):
        evaluate(read_out, [batch([ranked(0, classes=3)], [0])], num_classes=5)
