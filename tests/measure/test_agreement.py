from dataclasses import replace

import numpy as np
import pytest

from bundles import tiny_spec
from parckit.contract import DecoderSpec, InputError, NetworkSpec
from parckit.measure.agreement import Answers, agreement
from parckit.measure.tolerance import TOLERANCES, tolerance_of
from parckit.processing import CLASSIFY, MULTILABEL, SEGMENT, Geometry

LOGITS = np.array([[3, 1, 0, 2], [0, 1, 3, 2]], np.float32)
FP32, FP16 = TOLERANCES["fp32"], TOLERANCES["fp16"]
PLACE = Geometry(picture_size=(256, 256), input_size=(256, 256), scale=(1.0, 1.0), offset=(0.0, 0.0))
TINYDET = DecoderSpec(
    name="tinydet", parameters={"strides": [32]}, defaults={"threshold": 0.3, "overlap": 0.5, "per_class": 9, "most": 9}
)


def shared(
    spec: NetworkSpec, decoder: DecoderSpec, expected: object, actual: object, *, tolerance=FP32
) -> float | None:
    outputs = [one if isinstance(one, tuple) else (one,) for one in (expected, actual)]
    places = [PLACE] * len(outputs[0][0])
    return agreement(
        Answers(expected=outputs[0], actual=outputs[1], decoder=decoder, spec=spec, geometries=places), tolerance
    )


def test_the_most_probable_class_counts():
    other = LOGITS[:, ::-1]
    assert shared(tiny_spec(), CLASSIFY, LOGITS, 2 * LOGITS) == 1
    assert shared(tiny_spec(), CLASSIFY, LOGITS, other) == 0
    assert shared(tiny_spec(), CLASSIFY, LOGITS, np.stack([LOGITS[0], other[1]])) == 0.5


def test_pixels_with_the_same_class_count():
    spec = replace(tiny_spec(), task="segment")
    maps = np.moveaxis(np.stack([LOGITS, LOGITS]), -1, 1)[..., None]
    other = maps.copy()
    other[0, :, 0] = maps[0, ::-1, 0]
    assert shared(spec, DecoderSpec(name=SEGMENT), maps, maps) == 1
    assert shared(spec, DecoderSpec(name=SEGMENT), maps, other) == 0.75


def test_ties_do_not_count():
    """A network that is not trained finds all classes equally probable; so rounding decides."""
    tie = np.array([[1, 1.0001, 0, 0], [0, 1, 3, 2]], np.float32)
    other = np.array([[1.0001, 1, 0, 0], [0, 1, 3, 2]], np.float32)
    assert shared(tiny_spec(), CLASSIFY, tie, other) == 1
    assert shared(tiny_spec(), CLASSIFY, tie[:1], other[:1]) is None
    # The second class is less probable by 0.03: a tie in half precision.
    near = np.array([[0.1, 0, -9, -9]], np.float32)
    assert shared(tiny_spec(), CLASSIFY, near, near[:, ::-1]) == 0
    assert shared(tiny_spec(), CLASSIFY, near, near[:, ::-1], tolerance=FP16) is None


def test_all_labels_of_a_picture_count():
    spec = replace(tiny_spec(), task="multilabel")
    assert shared(spec, MULTILABEL, LOGITS - 2.5, LOGITS - 2.4) == 1
    assert shared(spec, MULTILABEL, LOGITS - 2.5, LOGITS - 0.5) == 0
    # The label at the threshold is a tie. A picture without labels does not count.
    assert shared(spec, MULTILABEL, LOGITS - 2, LOGITS - 1.999) == 1
    assert shared(spec, MULTILABEL, LOGITS - 9, LOGITS - 9) is None


def detector(*logits: float, side: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """Return what a detector gives for one picture, with the logits of neighbours in its middle."""
    classes = np.full((1, 4, 8, 8), -9, np.float32)
    classes[0, 0, 3, 3 : 3 + len(logits)] = logits
    return classes, np.full((1, 4, 8, 8), side, np.float32)


def test_boxes_that_both_have_count():
    spec = replace(tiny_spec(), task="detect", head="tinydet")
    assert shared(spec, TINYDET, detector(2, 1), detector(2, 1)) == 1
    # One of three boxes of both engines together is not in the other answer.
    assert shared(spec, TINYDET, detector(2, 1), detector(2)) == pytest.approx(2 / 3)
    assert shared(spec, TINYDET, detector(2), detector(2, side=9)) == 0
    # Pictures without boxes do not count.
    assert shared(spec, TINYDET, detector(), detector()) is None
    none, one, other = detector(), detector(2), detector(-9, 2)
    many = [tuple(np.concatenate([*column]) for column in zip(*[none] * 6, last, strict=True)) for last in (one, other)]
    assert shared(spec, TINYDET, *many) == 0


def test_half_precision_may_change_scores():
    spec = replace(tiny_spec(), task="detect", head="tinydet")
    pair = detector(2), detector(2.1)
    assert shared(spec, TINYDET, *pair) == 0
    assert shared(spec, TINYDET, *pair, tolerance=FP16) == 1


def test_which_of_two_equal_boxes_is_suppressed_is_a_tie():
    """The boxes of two neighbours overlap by 0.6. Rounding decides which has the higher score."""
    spec = replace(tiny_spec(), task="detect", head="tinydet")
    pair = detector(2.0001, 2, side=2), detector(2, 2.0001, side=2)
    assert shared(spec, TINYDET, *pair) == 1


def test_int8_has_no_usual_tolerance():
    with pytest.raises(InputError, match="precision='int8': has no usual tolerance; only fp32, fp16 have one"):
        tolerance_of("int8")
