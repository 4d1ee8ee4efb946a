import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_iou as torchvision_iou
from torchvision.ops import nms

from parckit.contract import DecoderSpec, InputError, NetworkSpec, Preprocessing
from parckit.processing import (
    BoxPrediction,
    Geometry,
    TinyDetDecoder,
    box_iou,
    make_decoder,
    map_points,
    suppress,
)

NAMES = ("cat", "dog", "owl")
SIZE = (32, 64)
WHOLE = Geometry(picture_size=SIZE, input_size=SIZE, scale=(1.0, 1.0), offset=(0.0, 0.0))
HALVED = Geometry(picture_size=(64, 128), input_size=SIZE, scale=(0.5, 0.5), offset=(0.0, 0.0))


def random_boxes(count: int, *, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    corners = rng.uniform(0, 80, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(1, 40, (count, 2))], axis=1).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 2, 127, 128, 129, 1000])
def test_suppression_keeps_the_boxes_that_torchvision_keeps(count):
    boxes = random_boxes(count)
    scores = np.random.default_rng(1).random(count).astype(np.float32)
    expected = nms(torch.from_numpy(boxes), torch.from_numpy(scores), 0.4)
    np.testing.assert_array_equal(suppress(boxes, scores, 0.4), expected)


def test_overlap_is_torchvisions_and_nothing_of_empty_boxes():
    first, second = random_boxes(20), random_boxes(30, seed=1)
    expected = torchvision_iou(torch.from_numpy(first), torch.from_numpy(second))
    np.testing.assert_allclose(box_iou(first, second), expected, rtol=1e-5)  # a few float32 roundings
    empty = np.array([[1, 1, 1, 1]], np.float32)
    assert box_iou(empty, empty).tolist() == [[0]]


def test_points_are_the_centres_of_positions():
    assert map_points(1, 2, 8).tolist() == [[4, 4], [12, 4]]


def tiny_outputs(score: float = 5.0) -> list[np.ndarray]:
    """Return outputs of one map of stride 16 that see a dog around the point (24, 8), 8 pixels to every side."""
    logits = np.full((1, 3, 2, 4), -9, np.float32)
    logits[0, 1, 0, 1] = score
    # softplus(0) = log 2; the distance of 8 pixels is half a stride.
    distances = np.full((1, 4, 2, 4), np.log(np.expm1(0.5)), np.float32)
    return [logits, distances]


@pytest.mark.parametrize(("geometry", "box"), [(WHOLE, [16, 0, 32, 16]), (HALVED, [32, 0, 64, 32])])
def test_the_small_detectors_boxes_lie_in_the_picture(geometry, box):
    (answer,) = TinyDetDecoder(NAMES, strides=[16])(tiny_outputs(), [geometry])
    assert answer.labels.tolist() == [1]
    np.testing.assert_allclose(answer.boxes, [box], rtol=1e-5)
    assert answer.scores.tolist() == pytest.approx([1 / (1 + np.exp(-5))])
    assert answer.to_plain()[0]["class"] == "dog"


def test_a_higher_threshold_and_fewer_boxes_can_be_asked_for():
    outputs = [np.zeros((1, 3, 2, 4), np.float32), np.zeros((1, 4, 2, 4), np.float32)]
    assert len(TinyDetDecoder(NAMES, strides=[16], threshold=0.4, most=5)(outputs, [WHOLE])[0]) == 5
    assert len(TinyDetDecoder(NAMES, strides=[16], threshold=0.5)(outputs, [WHOLE])[0]) == 0


def test_wrong_outputs_are_refused():
    logits, distances = tiny_outputs()
    decoder = TinyDetDecoder(NAMES, strides=[16])
    for outputs in ([logits], [logits[:, :2], distances], [logits, distances[:, :3]], [logits, distances[..., :2]]):
        with pytest.raises(InputError, match="outputs of shapes"):
            decoder(outputs, [WHOLE])
    with pytest.raises(InputError, match="not finite"):
        decoder([logits * np.nan, distances], [WHOLE])


@pytest.mark.parametrize(
    ("name", "wrong"),
    [
        ("tinydet", {"threshold": 2}),
        ("tinydet", {"most": 0}),
        ("tinydet", {"overlap": -1}),
        ("tinydet", {"strides": [0]}),
        ("tinydet", {"strides": 8}),
        ("ssd", {"per_class": 1.5}),
        ("ssd", {"strides": [8], "scales": [0.1], "ratios": [[2.0]]}),
    ],
)
def test_wrong_values_are_refused(name, wrong):
    usual = {"tinydet": {"strides": [8]}, "ssd": {"strides": [8], "scales": [0.1, 0.2], "ratios": [[2.0]]}}[name]
    spec = NetworkSpec(task="detect", backbone="x", labels=NAMES, preprocessing=Preprocessing(size=SIZE))
    with pytest.raises(InputError):
        make_decoder(DecoderSpec(name=name, parameters=usual | wrong), spec)


@pytest.fixture
def answer() -> BoxPrediction:
    return BoxPrediction(
        boxes=np.array([[10, 40, 60, 90], [0, 0, 400, 300]], np.float32),
        scores=np.array([0.9, 0.5], np.float32),
        labels=np.array([0, 2]),
        names=NAMES,
    )


def test_an_answer_says_what_where_and_how_sure(answer):
    assert answer.rows() == [("cat", "90.0", "10", "40", "60", "90"), ("owl", "50.0", "0", "0", "400", "300")]
    assert str(answer).splitlines() == ["cat   90.0 %  at 10, 40, 60, 90", "owl   50.0 %  at 0, 0, 400, 300"]
    assert "<th>class</th>" in answer._repr_html_()
    assert (
        str(BoxPrediction(boxes=np.zeros((0, 4)), scores=np.zeros(0), labels=np.zeros(0), names=NAMES)) == "no objects"
    )


def test_frames_are_drawn_and_the_picture_stays(answer):
    picture = Image.new("RGB", (200, 120), "white")
    drawn = answer.draw(picture)
    assert drawn.size == picture.size
    assert picture.getcolors() == [(200 * 120, (255, 255, 255))]
    # The cat's frame is blue, on all four sides.
    for x, y in ((35, 40), (35, 89), (10, 70), (59, 70)):
        assert drawn.getpixel((x, y)) == (0, 114, 178)
    assert answer.draw(Image.new("RGB", (1, 1))).size == (1, 1)
