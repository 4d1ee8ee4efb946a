import json

import numpy as np
import pytest
from PIL import Image

from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.processing import MULTILABEL, LabelPrediction, make_decoder

LABELS = ("ant", "bee", "cat", "dog")
SHARES = np.array([[0.2, 0.9, 0.6, 0.4], [0.1, 0.3, 0.3, 0.2]])
LOGITS = np.log(SHARES / (1 - SHARES)).astype(np.float32)
NETWORK = NetworkSpec(
    task="multilabel", backbone="test_parcnet", labels=LABELS, preprocessing=Preprocessing(size=(4, 4))
)


def decode(**overrides: object) -> list[LabelPrediction]:
    return make_decoder(MULTILABEL, NETWORK, overrides=overrides)([LOGITS], [])


def test_labels_above_their_threshold_are_present_and_all_classes_are_ranked():
    first, second = decode()
    assert first.labels == ("bee", "cat")
    assert [score.label for score in first.ranking] == ["bee", "cat", "dog", "ant"]
    # Logits are float32.
    assert [score.probability for score in first.ranking] == pytest.approx([0.9, 0.6, 0.4, 0.2], rel=1e-6)
    assert second.labels == ()
    # Equally probable classes keep their order.
    assert [score.label for score in second.ranking] == ["bee", "cat", "dog", "ant"]


def test_there_is_one_threshold_or_one_for_every_class():
    assert [answer.labels for answer in decode(threshold=0.25)] == [("bee", "cat", "dog"), ("bee", "cat")]
    assert [answer.labels for answer in decode(threshold=(0.15, 0.95, 0.5, 0.5))] == [("cat", "ant"), ()]


def test_an_answer_shows_what_is_present_and_the_most_probable():
    first, second = decode(top=1)
    assert [row[0] for row in first.rows()] == ["bee", "cat"]
    assert second.rows() == [("bee", "30.0", "50.0", "no")]
    plain = json.loads(json.dumps(first.to_plain()))
    assert [(entry["class"], entry["present"]) for entry in plain] == [("bee", True), ("cat", True)]
    assert str(second).splitlines()[0] == "no label"
    assert str(first).splitlines()[0] == "bee, cat"
    assert first._repr_html_().count("<tr>") == 2


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"top": 0}, "top=0"),
        ({"threshold": 1.1}, "threshold=1.1 of class 'ant'"),
        ({"threshold": (0.5, 0.5, -1.0, 0.5)}, "threshold=-1.0 of class 'cat'"),
        ({"threshold": (0.5,)}, "has 1 numbers; needs one, or one for each of 4"),
        ({"iou": 1}, "iou=1"),
    ],
    ids=str,
)
def test_bad_values_are_named(wrong, named):
    with pytest.raises(InputError, match=named):
        decode(**wrong)


def test_extreme_logits_do_not_overflow():
    (answer,) = make_decoder(MULTILABEL, NETWORK)([np.array([[1e4, -1e4, 40, -40]], np.float32)], [])
    assert [score.probability for score in answer.ranking] == pytest.approx([1, 1, np.exp(-40), 0])


def test_a_drawing_has_strong_bars_for_present_labels_and_faint_ones_for_others():
    picture = Image.new("RGB", (500, 60), "white")
    drawn = np.asarray(decode()[0].draw(picture)).astype(int)
    assert (drawn[:60] == 255).all()
    strong, faint = ((drawn[60:] == colour).all(-1).sum(1) for colour in ((0, 0x72, 0xB2), (0xA9, 0xB4, 0xBF)))
    rows = [slice(28 * row, 28 * (row + 1)) for row in range(3)]
    assert [strong[row].max() > 0 for row in rows] == [True, True, False]
    assert [faint[row].max() > 0 for row in rows] == [False, False, True]
    assert strong[rows[0]].max() > strong[rows[1]].max() > faint[rows[2]].max()
