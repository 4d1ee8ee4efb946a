"""Large pictures in tiles: the boxes are those of the whole picture, each of them once."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from PIL import Image

from colour_detector import COLOURS, NAMES, ColourSession
from parckit.contract import InputError
from parckit.data.digit_scenes import make_digit_scenes
from parckit.processing import (
    BoxMasks,
    BoxPrediction,
    TileSettings,
    box_iou,
    cut_tiles,
    intersections,
    merge_tiles,
)
from parckit.processing.tiles import tile_spans
from parckit.runtimes import Predictor

SIDE = 160


@pytest.fixture(scope="module")
def mosaic() -> Image.Image:
    """Return 3 x 3 scenes of digits, one of them enlarged; the boxes of the digits are painted red or green."""
    scenes = make_digit_scenes(split="test")
    canvas = np.zeros((4 * SIDE, 4 * SIDE, 3), np.uint8)
    places = [(0, 0, 3), *((3, row, 1) for row in range(4)), *((column, 3, 1) for column in range(3))]
    for index, (column, row, scale) in enumerate(places):
        scene = scenes.scene(index)
        # No two patches may touch.
        apart = np.ones(len(scene.boxes), np.bool_)
        grown = scene.boxes + np.array([-2, -2, 2, 2], np.float32)
        for number in range(len(grown)):
            apart[number] = not (intersections(grown[[number]], grown[:number][apart[:number]]) > 0).any()
        pixels = np.array(Image.fromarray(scene.pixels).resize((scale * SIDE, scale * SIDE)))
        pixels[(pixels == COLOURS[0]).all(-1) | (pixels == COLOURS[1]).all(-1)] = 9
        for box, label in zip((scale * scene.boxes[apart]).astype(int), scene.labels[apart], strict=True):
            left, top, right, bottom = np.clip(box, 1, scale * SIDE - 1)
            pixels[top:bottom, left:right] = COLOURS[label % 2]
        top, left = row * SIDE, column * SIDE
        canvas[top : top + scale * SIDE, left : left + scale * SIDE] = pixels
    return Image.fromarray(canvas)


def as_set(answer: BoxPrediction) -> set[tuple[float, ...]]:
    return {(*box, label) for box, label in zip(answer.boxes.tolist(), answer.labels.tolist(), strict=True)}


@pytest.fixture(scope="module")
def truth(mosaic) -> BoxPrediction:
    """Return the answer for the whole mosaic at its own size."""
    answer = Predictor(ColourSession((mosaic.height, mosaic.width)))(mosaic)
    assert len(answer) > 20
    return answer


def test_boxes_of_tiles_are_those_of_the_whole_picture(mosaic, truth):
    predictor = Predictor(ColourSession((SIDE, SIDE)), tiles=TileSettings())
    answer = predictor(mosaic)
    is_small = (truth.boxes[:, 2:] - truth.boxes[:, :2] < 0.2 * SIDE).all(axis=1)
    assert 10 < is_small.sum() < len(truth) - 3
    assert as_set(replace(truth, boxes=truth.boxes[is_small], labels=truth.labels[is_small])) <= as_set(answer)
    # The others may come from the whole picture, which was seen at a quarter of its size.
    overlap = box_iou(truth.boxes, answer.boxes)
    assert len(answer) == len(truth)
    assert (overlap.max(axis=1) > 0.8).all()
    assert answer.labels[overlap.argmax(axis=1)].tolist() == truth.labels.tolist()
    assert (np.diff(answer.scores) <= 0).all()


def test_a_picture_that_is_no_larger_than_a_tile_is_answered_as_without_tiles(mosaic):
    for size in ((SIDE, SIDE), (SIDE, 90), (50, 60)):
        picture = mosaic.crop((300, 300, 300 + size[1], 300 + size[0]))
        session = ColourSession((SIDE, SIDE))
        assert as_set(Predictor(session, tiles=TileSettings())(picture)) == as_set(Predictor(session)(picture))
        assert session.runs == 2


def test_tiles_have_the_wanted_size_and_overlap(mosaic):
    session = ColourSession((64, 64))
    Predictor(session, tiles=TileSettings(size=(320, 640), overlap=0.5))(mosaic)
    assert session.runs == 3 + 1  # three rows of tiles, and the whole picture
    with pytest.raises(InputError, match=r"tiles=0: must be a whole number"):
        TileSettings(size=(0, 3))
    with pytest.raises(InputError, match=r"overlap 0\.95"):
        TileSettings(overlap=0.95)


def test_classifiers_take_no_tiles():
    session = ColourSession((64, 64))
    session.spec = replace(session.spec, task="classify", head="classify")
    with pytest.raises(InputError, match="are for detectors and networks that segment"):
        Predictor(session, tiles=TileSettings())


@pytest.mark.parametrize("length", [1, 63, 64, 65, 100, 128, 1000])
@pytest.mark.parametrize("overlap", [0.0, 0.2, 0.9])
def test_tiles_cover_a_picture_and_overlap_enough(length, overlap):
    windows = cut_tiles((length, 50), size=(64, 64), overlap=overlap)
    assert all((left, right) == (0, 50) for left, _, right, _ in windows)
    tops, bottoms = zip(*((top, bottom) for _, top, _, bottom in windows), strict=True)
    assert (tops[0], bottoms[-1]) == (0, length)
    assert {bottom - top for top, bottom in zip(tops, bottoms, strict=True)} == {min(64, length)}
    shared = [before - after for before, after in zip(bottoms[:-1], tops[1:], strict=True)]
    # Tiles that lie evenly begin at whole pixels, so one of them may overlap by one pixel less.
    assert all(pixels >= 64 * overlap - 1 for pixels in shared)


def test_tiles_lie_one_step_apart_or_evenly():
    # As the windows of papers on ADE20K: 512 pixels and a step of 341.
    step = partial(tile_spans, overlap=1 / 3, evenly=False)
    assert step(1200, 512) == [(0, 512), (341, 853), (682, 1194), (688, 1200)]
    assert step(512, 512) == [(0, 512)]
    assert step(300, 512) == [(0, 300)]
    assert tile_spans(1200, 512, overlap=1 / 3, evenly=True) == [(0, 512), (229, 741), (459, 971), (688, 1200)]
    for evenly in (False, True):
        # Rounding errors do not make a step smaller.
        assert tile_spans(120, 100, overlap=0.9, evenly=evenly) == [(0, 100), (10, 110), (20, 120)]
        assert tile_spans(3, 1, overlap=0.9, evenly=evenly) == [(0, 1), (1, 2), (2, 3)]


def boxes_of(boxes, scores=None, labels=None, masks=None) -> BoxPrediction:
    array = np.array(boxes, np.float32).reshape(-1, 4)
    return BoxPrediction(
        boxes=array,
        scores=np.full(len(array), 0.5, np.float32) if scores is None else np.array(scores, np.float32),
        labels=np.zeros(len(array), np.int64) if labels is None else np.array(labels),
        names=NAMES,
        masks=masks,
    )


WINDOWS = [(0, 0, 100, 100), (80, 0, 180, 100)]
SIZE = (100, 180)


def merged(first: BoxPrediction, second: BoxPrediction) -> list[list[float]]:
    return merge_tiles([first, second], WINDOWS, picture_size=SIZE).boxes.tolist()


def test_a_complete_box_is_kept_in_place_of_a_surer_cut_one():
    # The object reaches from 85 to 115. The first tile ends at 100.
    assert merged(boxes_of([[85, 10, 100, 40]], [0.9]), boxes_of([[5, 10, 35, 40]], [0.4])) == [[85, 10, 115, 40]]


def test_an_object_larger_than_a_tile_comes_from_the_whole_picture():
    # The tile in the middle shows only the object, and takes a part of it for all of it.
    windows = [(0, 0, 100, 100), (80, 0, 180, 100), (160, 0, 260, 100), (0, 0, 260, 100)]
    answers = [boxes_of([]), boxes_of([[5, 5, 95, 95]], [0.4]), boxes_of([]), boxes_of([[60, 2, 220, 98]], [0.9])]
    assert merge_tiles(answers, windows, picture_size=(100, 260)).boxes.tolist() == [[60, 2, 220, 98]]


def test_parts_of_an_object_that_every_tile_cuts_are_joined():
    assert merged(boxes_of([[20, 10, 100, 40]], [0.4]), boxes_of([[0, 10, 70, 40]], [0.9])) == [[20, 10, 150, 40]]


def test_other_classes_and_other_objects_stay_apart():
    cut, other_class = boxes_of([[20, 10, 100, 40]]), boxes_of([[0, 10, 70, 40]], labels=[1])
    assert len(merged(cut, other_class)) == 2
    # Both are cut, but what the two tiles see of them lies at different heights.
    assert len(merged(cut, boxes_of([[0, 60, 70, 90]]))) == 2
    # A small object inside of a large one; the decoder of one tile has decided that both are there.
    assert len(merged(boxes_of([[10, 10, 60, 60], [20, 20, 30, 30]]), boxes_of([]))) == 2


def test_nothing_in_any_tile_is_nothing():
    assert merged(boxes_of([]), boxes_of([])) == []


def test_masks_move_with_their_boxes_and_are_joined():
    shares = np.ones((1, 28, 28), np.float32)
    first, second = (
        boxes_of([box], masks=BoxMasks(shares=shares, boxes=np.array([box], np.float32), picture_size=(100, 100)))
        for box in ([20, 10, 100, 40], [0, 10, 70, 40])
    )
    nothing = boxes_of([], masks=BoxMasks(shares=shares[:0], boxes=np.zeros((0, 4), np.float32), picture_size=SIZE))
    windows = [*WINDOWS, (0, 0, 180, 100)]
    answer = merge_tiles([first, second, nothing], windows, picture_size=SIZE)
    assert answer.masks.mask(0).shape == SIZE
    wanted = np.zeros(SIZE, np.bool_)
    wanted[10:40, 20:150] = True
    # The border of a mask is interpolated between the points of its grid, here 5 pixels wide.
    assert (answer.masks.mask(0) != wanted).sum() < 0.1 * wanted.sum()
    alone = merge_tiles(
        [nothing, boxes_of([[10, 10, 30, 40]], masks=_masks([10, 10, 30, 40])), nothing], windows, picture_size=SIZE
    )
    rows, columns = np.nonzero(alone.masks.mask(0))
    assert (columns.min(), columns.max(), rows.min(), rows.max()) == pytest.approx((90, 109, 10, 39), abs=1)


def _masks(box) -> BoxMasks:
    return BoxMasks(shares=np.ones((1, 28, 28), np.float32), boxes=np.array([box], np.float32), picture_size=(100, 100))


def test_masks_of_a_network_reach_the_whole_picture(mosaic):
    answer = Predictor(ColourSession((SIDE, SIDE), masks=True), tiles=TileSettings())(mosaic)
    assert len(answer.masks) == len(answer)
    for index in range(len(answer)):
        rows, columns = np.nonzero(answer.masks.mask(index))
        around = (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
        np.testing.assert_allclose(around, answer.boxes[index], atol=1.5)  # torchvision's masks begin at whole pixels


def test_a_joined_box_takes_every_part_that_is_left():
    # An object of three tiles: the first and the third do not touch.
    windows = [(0, 0, 100, 50), (80, 0, 180, 50), (160, 0, 260, 50)]
    parts = [boxes_of([[10, 5, 100, 40]]), boxes_of([[0, 5, 100, 40]]), boxes_of([[0, 5, 60, 40]])]
    assert merge_tiles(parts, windows, picture_size=(50, 260)).boxes.tolist() == [[10, 5, 220, 40]]
