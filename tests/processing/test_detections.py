"""Detections of two-stage networks: back to the picture, with masks of its size."""

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.models.detection.roi_heads import paste_masks_in_image

from parckit.contract import InputError
from parckit.processing import BoxMasks, DetectionsDecoder, Geometry

NAMES = ("cat", "dog")
SAME = Geometry(picture_size=(60, 80), input_size=(60, 80), scale=(1.0, 1.0), offset=(0.0, 0.0))


def grids(count: int, side: int = 28) -> np.ndarray:
    """Return smooth random probabilities."""
    rng = np.random.default_rng(0)
    coarse = torch.from_numpy(rng.random((count, 1, 5, 5), dtype=np.float32))
    return torch.nn.functional.interpolate(coarse, size=side, mode="bilinear")[:, 0].numpy()


def outputs(boxes, scores=None, labels=None, masks=None):
    count = len(boxes)
    scores = np.linspace(0.9, 0.5, count) if scores is None else scores
    arrays = [np.array(boxes, np.float32).reshape(-1, 4), np.array(scores, np.float32)]
    arrays.append(np.zeros(count, np.int64) if labels is None else np.array(labels, np.int64))
    return arrays if masks is None else [*arrays, masks]


def test_boxes_go_to_the_picture_the_best_first():
    geometry = Geometry(picture_size=(120, 160), input_size=(60, 80), scale=(0.5, 0.5), offset=(0.0, -4.0))
    boxes = [[4, 0, 24, 10], [14, 10, 94, 20], [0, 0, 1, 1]]
    (answer,) = DetectionsDecoder(NAMES)(outputs(boxes, [0.5, 0.8, 0.2], [0, 1, 0]), [geometry])
    assert answer.boxes.tolist() == [[20, 20, 160, 40], [0, 0, 40, 20]]
    assert answer.labels.tolist() == [1, 0]
    assert answer.masks is None
    assert len(DetectionsDecoder(NAMES, threshold=0.0, most=2)(outputs(boxes), [geometry])[0]) == 2


def test_masks_are_those_that_torchvision_pastes():
    inside, over_borders, tiny = (
        [10.3, 5.2, 40.9, 50.1],
        [[-12, -7.5, 30, 20], [60, 40, 99.5, 90]],
        [3.4, 3.4, 3.9, 3.9],
    )
    boxes = np.array([inside, *over_borders, tiny], np.float32)
    shares = grids(len(boxes))
    (answer,) = DetectionsDecoder(NAMES)(outputs(boxes, masks=shares), [SAME])
    expected = paste_masks_in_image(torch.from_numpy(shares)[:, None], torch.from_numpy(boxes), (60, 80))[:, 0]
    for index, wanted in enumerate(expected):
        mask = answer.masks.mask(index)
        assert mask.shape == (60, 80)
        # Both round in float32. Only pixels whose probability is 0.5 up to rounding may differ.
        clear = (wanted - 0.5).abs().numpy() > 1e-5
        np.testing.assert_array_equal(mask[clear], (wanted > 0.5).numpy()[clear])
    assert answer.masks.mask(0).any()


@pytest.mark.parametrize("box", [[-30, -30, -5, -5], [90, 10, 120, 40], [10, 70, 30, 99]], ids=str)
def test_a_mask_outside_of_the_picture_is_empty(box):
    masks = BoxMasks(shares=np.ones((1, 28, 28), np.float32), boxes=np.array([box], np.float32), picture_size=(60, 80))
    assert masks.mask(0).shape == (60, 80)
    assert not masks.mask(0).any()
    assert masks.rle(0)["counts"] == [60 * 80]


def test_masks_stay_in_place_when_their_box_is_cut_at_the_border():
    half = np.zeros((1, 28, 28), np.float32)
    half[:, :, 14:] = 1
    # The left half of the box lies in the padding.
    geometry = Geometry(picture_size=(40, 40), input_size=(40, 80), scale=(1.0, 1.0), offset=(0.0, -20.0))
    (answer,) = DetectionsDecoder(NAMES)(outputs([[10, 10, 30, 30]], masks=half), [geometry])
    assert answer.boxes.tolist() == [[0, 10, 10, 30]]
    columns = np.flatnonzero(answer.masks.mask(0).any(axis=0))
    # The probability is 0.5 in the middle of the box; the first column of the picture is there.
    assert columns.min() in {0, 1}
    assert columns.max() == 9


def test_run_lengths_are_those_of_coco():
    from faster_coco_eval.core import mask as coco

    masks = BoxMasks(
        shares=grids(2), boxes=np.array([[5, 5, 50, 40], [-9, -9, 90, 90]], np.float32), picture_size=(60, 80)
    )
    for index in range(2):
        run_lengths = masks.rle(index)
        assert run_lengths["size"] == [60, 80]
        decoded = coco.decode(coco.frPyObjects(run_lengths, 60, 80)).astype(np.bool_)
        np.testing.assert_array_equal(decoded, masks.mask(index))
        compressed = coco.encode(np.asfortranarray(masks.mask(index).astype(np.uint8)))
        assert masks.compressed_rle(index)["counts"] == compressed["counts"].decode()
    full = BoxMasks(
        shares=np.ones((1, 28, 28), np.float32), boxes=np.array([[-9, -9, 90, 90]], np.float32), picture_size=(6, 8)
    )
    assert full.rle(0)["counts"] == [0, 48]


def test_an_answer_with_masks_is_written_and_drawn():
    (answer,) = DetectionsDecoder(NAMES)(
        outputs([[10, 20, 50, 50]], labels=[1], masks=np.ones((1, 28, 28), np.float32)), [SAME]
    )
    (plain,) = answer.to_plain()
    assert plain["class"] == "dog"
    assert sum(plain["mask"]["counts"]) == 60 * 80
    black = Image.new("RGB", (80, 60))
    drawn = np.asarray(answer.draw(black))
    inside, outside = drawn[35, 30], drawn[35, 70]
    assert not outside.any()
    # Translucent: the colour of the class, darker on black.
    assert 0 < inside.max() < 213
    assert not np.asarray(black).any()


def test_no_detections_are_an_empty_answer():
    (answer,) = DetectionsDecoder(NAMES)(outputs([], masks=np.zeros((0, 28, 28), np.float32)), [SAME])
    assert str(answer) == "no objects"
    assert answer.to_plain() == []
    answer.draw(Image.new("RGB", (80, 60)))


@pytest.mark.parametrize(
    ("wrong", "geometries", "message"),
    [
        (outputs([[0, 0, 1, 1]]), [SAME, SAME], "2 images: detections are of one image"),
        (outputs([[0, 0, 1, 1]], scores=[0.5, 0.5]), [SAME], "must be"),
        (outputs([[0, 0, 1, 1]], masks=np.zeros((1, 28, 14), np.float32)), [SAME], "must be"),
        (outputs([[0, 0, np.nan, 1]]), [SAME], "not finite"),
        (outputs([[0, 0, 1, 1]], labels=[2]), [SAME], "there are 2 classes"),
    ],
)
def test_outputs_that_are_no_detections_are_refused(wrong, geometries, message):
    with pytest.raises(InputError, match=message):
        DetectionsDecoder(NAMES)(wrong, geometries)
