import json
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from parckit.contract import DecoderSpec, InputError, NetworkSpec, Preprocessing
from parckit.processing import CLASSIFY, UNKNOWN, ClassPrediction, ClassScore, make_decoder, probabilities

LABELS = ("ant", "bee", "cat")
LOGITS = np.log(np.array([[0.2, 0.7, 0.1], [0.25, 0.25, 0.5]], np.float32))


NETWORK = NetworkSpec(backbone="test_parcnet", labels=LABELS, preprocessing=Preprocessing(size=(4, 4)))


def decode(**overrides: float) -> list[ClassPrediction]:
    return make_decoder(CLASSIFY, NETWORK, overrides=overrides)([LOGITS], [])


def test_the_most_probable_classes_come_first():
    first, second = decode(top=2)
    assert [score.label for score in first.ranking] == ["bee", "ant"]
    # Logits are float32.
    assert [score.probability for score in first.ranking] == pytest.approx([0.7, 0.2], rel=1e-6)
    # Equally probable classes keep their order.
    assert [score.label for score in second.ranking] == ["cat", "ant"]
    assert len(decode(top=99)[0].ranking) == len(LABELS)


def test_below_the_threshold_the_answer_is_unknown():
    first, second = decode(threshold=0.6)
    assert (first.label, first.is_known) == ("bee", True)
    assert (second.label, second.is_known) == (UNKNOWN, False)
    assert second.to_plain()[0] == {"class": UNKNOWN, "probability": None}
    assert second.to_plain()[1]["class"] == "cat"
    assert UNKNOWN in str(second)


def test_drawings_with_and_without_an_answer_have_one_size():
    first, second = (answer.draw(Image.new("RGB", (640, 480))) for answer in decode(threshold=0.6))
    assert first.size == second.size


def test_the_plain_form_is_json():
    plain = json.loads(json.dumps(decode()[0].to_plain()))
    assert [entry["class"] for entry in plain] == ["bee", "ant", "cat"]


@pytest.mark.parametrize(
    ("wrong", "named"),
    [({"top": 0}, "top=0"), ({"top": 1.5}, "top=1.5"), ({"threshold": 1.1}, "threshold=1.1"), ({"iou": 1}, "iou=1")],
    ids=str,
)
def test_bad_values_are_named(wrong, named):
    with pytest.raises(InputError, match=named):
        decode(**wrong)


def test_an_unknown_decoder_is_named():
    with pytest.raises(InputError, match="decoder='oracle'"):
        make_decoder(DecoderSpec(name="oracle"), NETWORK)


@pytest.mark.parametrize(
    ("decoder", "named"),
    [
        (DecoderSpec(name="classify", parameters={"strides": [8]}), "'strides' is unknown; known are top, threshold"),
        (DecoderSpec(name="classify", defaults={"iou": 0.5}), "'iou' is unknown"),
        (DecoderSpec(name="classify", parameters={"top": "three"}), "three"),
        (DecoderSpec(name="classify", defaults={"top": 0}), "top=0"),
    ],
    ids=str,
)
def test_a_decoder_refuses_what_a_file_says_wrong(decoder, named):
    with pytest.raises(InputError, match=named):
        make_decoder(decoder, NETWORK)


def test_a_decoder_of_another_task_is_refused():
    with pytest.raises(InputError, match="is for task='classify', but the network's is 'segment'"):
        make_decoder(CLASSIFY, replace(NETWORK, task="segment"))


def test_other_outputs_than_the_labels_are_refused():
    with pytest.raises(InputError, match=r"shape \(2, 2\): must be \(B, 3\)"):
        make_decoder(CLASSIFY, NETWORK)([LOGITS[:, :2]], [])


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_outputs_that_are_not_finite_are_refused(wrong):
    with pytest.raises(InputError, match="not finite"):
        make_decoder(CLASSIFY, NETWORK)([np.array([[0, wrong, 1]], np.float32)], [])


def test_large_logits_do_not_overflow():
    np.testing.assert_allclose(probabilities(np.array([[1e4, 0.0]], np.float32)), [[1, 0]])


def test_a_drawing_holds_the_picture_and_longer_bars_for_likelier_classes():
    picture = Image.new("RGB", (500, 60), "white")
    drawn = np.asarray(decode()[0].draw(picture)).astype(int)
    assert (drawn[:60] == 255).all()
    is_bar = (drawn[60:] == (0, 0x72, 0xB2)).all(-1)
    lengths = is_bar.sum(1)
    longest, second, third = (lengths[28 * row : 28 * (row + 1)].max() for row in range(3))
    assert longest > second > third > 0


def test_it_prints_in_a_terminal_and_in_a_notebook():
    prediction = ClassPrediction(ranking=(ClassScore("a<b", 0.75, 0), ClassScore("c", 0.25, 1)))
    assert str(prediction).splitlines()[0].split() == ["a<b", "75.0", "%", "█" * 15]
    assert repr(prediction) == str(prediction)
    html = prediction._repr_html_()
    assert "a&lt;b" in html
    assert html.count("<tr>") == 2
