import numpy as np
import pytest
import torch

from parckit.data import Scene
from parckit.data.objects import Objects
from parckit.processing import BoxPrediction, Geometry
from parckit.report.box_marks import mark_boxes
from parckit.report.figures import BLUE, LARGE_SIDE, ORANGE

# The input shows a picture of twice its size. The drawing enlarges it.
SIDE = 104
GEOMETRY = Geometry(picture_size=(2 * SIDE, 2 * SIDE), input_size=(SIDE, SIDE), scale=(0.5, 0.5), offset=(0.0, 0.0))
SCALE = LARGE_SIDE / SIDE
TRUE = [[20, 20, 80, 80], [120, 120, 180, 180]]


def scene(boxes=TRUE, labels=(0, 1), crowd=False) -> Scene:
    objects = Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4),
        torch.tensor(labels, dtype=torch.int64),
        torch.full((len(labels),), crowd),
    )
    return Scene(objects=objects, in_picture=objects)


def answer(boxes, labels, scores=None) -> BoxPrediction:
    return BoxPrediction(
        boxes=np.array(boxes, np.float32).reshape(-1, 4),
        scores=np.full(len(boxes), 0.9, np.float32) if scores is None else np.array(scores, np.float32),
        labels=np.array(labels, np.int64),
        names=("cat", "dog"),
    )


def colours_of(drawing: np.ndarray, box) -> dict[str, float]:
    """Return which shares of the lower side of a box in the picture are blue and orange."""
    left, _, right, bottom = (round(side * 0.5 * SCALE) for side in box)
    line = drawing[bottom - 1, left + 4 : right - 4]
    return {
        colour: float((np.abs(line - [int(colour[i : i + 2], 16) for i in (1, 3, 5)]).max(axis=1) < 3).mean())
        for colour in (BLUE, ORANGE)
    }


def draw(prediction: BoxPrediction, truth: Scene) -> np.ndarray:
    pixels = np.zeros((SIDE, SIDE, 3), np.uint8)
    drawing = mark_boxes(pixels, prediction, truth, GEOMETRY)
    assert drawing.shape == (LARGE_SIDE, LARGE_SIDE, 3)
    assert not pixels.any()
    return drawing.astype(int)


def test_right_boxes_are_blue_and_missed_objects_dashed_orange():
    drawing = draw(answer([TRUE[0]], [0]), scene())
    assert colours_of(drawing, TRUE[0]) == {BLUE: 1, ORANGE: 0}
    missed = colours_of(drawing, TRUE[1])
    assert missed[BLUE] == 0
    assert missed[ORANGE] == pytest.approx(0.5, abs=0.15)  # half of a dashed line


def test_boxes_of_a_wrong_class_or_around_nothing_are_orange():
    nothing = [100, 20, 160, 60]
    drawing = draw(answer([TRUE[0], nothing], [1, 0]), scene())
    assert colours_of(drawing, TRUE[0])[ORANGE] == 1
    assert colours_of(drawing, nothing)[ORANGE] == 1
    assert not (np.abs(drawing - [0, 0x72, 0xB2]).max(axis=2) < 3).any()


def test_unsure_boxes_and_crowds_are_left_out():
    assert not draw(answer([TRUE[0]], [0], [0.2]), scene(crowd=True)).any()


def test_a_box_beyond_the_border_and_long_names_can_be_drawn():
    prediction = answer([[-50, -50, 500, 500], [0, 0, 0, 0]], [0, 0])
    prediction = BoxPrediction(
        boxes=prediction.boxes, scores=prediction.scores, labels=prediction.labels, names=("c" * 200, "dog")
    )
    drawing = draw(prediction, scene(boxes=[], labels=[]))
    # Only the names can be seen. The long one is cut at the width of the picture.
    rows, columns = np.nonzero(drawing.any(axis=2))
    assert 10 < rows.max() < 30
    assert (columns.min(), columns.max()) == (0, LARGE_SIDE - 1)
