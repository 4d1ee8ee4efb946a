from dataclasses import replace

import numpy as np
import pytest

from bundles import tiny_spec
from parckit.measure.agreement import agreement
from parckit.processing import CLASSIFY, MULTILABEL, BoxPrediction, MaskPrediction, make_decoder

LOGITS = np.array([[3, 1, 0, 2], [0, 1, 3, 2]], np.float32)


def test_the_most_probable_class_counts():
    decode = make_decoder(CLASSIFY, tiny_spec())
    expected, same, other = (decode([logits], []) for logits in (LOGITS, 2 * LOGITS, LOGITS[:, ::-1]))
    assert agreement("classify", expected, same) == 1
    assert agreement("classify", expected, other) == 0
    assert agreement("classify", expected, [expected[0], other[1]]) == 0.5


def test_all_labels_of_a_picture_count():
    decode = make_decoder(MULTILABEL, replace(tiny_spec(), task="multilabel"))
    expected, same, other = (decode([logits], []) for logits in (LOGITS - 2, LOGITS - 1.9, LOGITS - 0.5))
    assert agreement("multilabel", expected, same) == 1
    assert agreement("multilabel", expected, other) == 0


def test_boxes_with_a_partner_count():
    boxes = np.array([[0, 0, 10, 10], [20, 20, 30, 30]], np.float32)
    both = BoxPrediction(boxes=boxes, scores=np.ones(2, np.float32), labels=np.zeros(2, np.int64), names=("a",))
    one = BoxPrediction(boxes=boxes[:1], scores=np.ones(1, np.float32), labels=np.zeros(1, np.int64), names=("a",))
    assert agreement("detect", [both], [both]) == 1
    # One of three boxes of both engines together has no partner.
    assert agreement("detect", [both], [one]) == pytest.approx(2 / 3)


def test_pixels_with_the_same_class_count():
    mask = np.array([[0, 1], [1, 1]], np.uint8)
    names = ("a", "b")
    expected, other = (MaskPrediction(mask=one, names=names) for one in (mask, np.ones_like(mask)))
    assert agreement("segment", [expected], [other]) == 0.75
