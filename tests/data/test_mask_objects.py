"""Objects that are painted as the classes of pixels: those of COCO files and of `digit_scenes`."""

import numpy as np
import pytest

from box_files import coco, write_coco, write_picture
from parckit.contract import InputError
from parckit.data import open_mask_table
from parckit.data.digit_scenes import make_digit_scenes
from parckit.processing import IGNORED


def test_the_objects_of_coco_are_painted_small_over_large_and_over_crowds(tmp_path):
    square = [[0, 0, 20, 0, 20, 20, 0, 20]]
    small = [[5, 5, 10, 5, 10, 10, 5, 10]]
    runs = {"size": [30, 40], "counts": [0, 600, 600]}
    boxes = [
        {"bbox": [5, 5, 5, 5], "category_id": 7, "segmentation": small},
        {"bbox": [0, 0, 20, 20], "category_id": 3, "segmentation": square},
        {"bbox": [0, 0, 20, 30], "category_id": 3, "segmentation": runs, "iscrowd": 1},
    ]
    write_picture(tmp_path / "a.png")
    write_coco(tmp_path / "annotations" / "train.json", coco(boxes, categories={3: "cat", 7: "dog"}))
    table = open_mask_table(str(tmp_path), split="all")
    assert table.labels == ("background", "cat", "dog")
    expected = np.zeros((30, 40), np.uint8)
    expected[:, :20] = IGNORED
    expected[:20, :20] = 1
    expected[5:10, 5:10] = 2
    np.testing.assert_array_equal(table.targets[0], expected)
    assert table.targets.count_pixels(classes=3, on_error="raise").tolist() == [600, 375, 25]


BROKEN = {
    "runs of another size": {"size": [3, 4], "counts": [0, 6, 6]},
    "runs that cannot be decoded": {"size": [30, 40], "counts": "zzzz"},
    "two points": [[10, 10, 30, 20]],
    "far outside": [[1e300, 5, 9, 5, 7, 5]],
    "no mask": [],
}


@pytest.mark.parametrize("segment", BROKEN.values(), ids=BROKEN)
def test_the_box_of_an_object_whose_mask_is_broken_is_ignored(tmp_path, segment, caplog):
    boxes = [
        {"bbox": [10, 4.5, 20, 9], "category_id": 1, "segmentation": segment},
        {"bbox": [25, 10, 10, 10], "category_id": 2, "segmentation": [[25, 10, 35, 10, 35, 20, 25, 20]]},
    ]
    write_picture(tmp_path / "a.png")
    path = str(write_coco(tmp_path / "train.json", coco(boxes)))
    table = open_mask_table(path, split="all")
    expected = np.zeros((30, 40), np.uint8)
    expected[4:14, 10:30] = IGNORED
    expected[10:20, 25:35] = 2
    np.testing.assert_array_equal(table.targets[0], expected)
    assert "1 bad mask (a.png)" in caplog.text
    with pytest.raises(InputError, match=r"a\.png: bad mask: .*.*ignores the pixels of its box"):
        open_mask_table(path, split="all", on_mask_fault="raise")


@pytest.mark.parametrize("orientation", [3, 6])
def test_ignored_boxes_turn_with_their_pictures(tmp_path, orientation):
    write_picture(tmp_path / "a.jpg", orientation=orientation)
    boxes = [
        {"bbox": [0, 0, 10, 5], "category_id": 1, "segmentation": [[1, 2]]},
        {"bbox": [20, 20, 4, 4], "category_id": 2, "segmentation": [[20, 20, 24, 20, 24, 24, 20, 24]]},
    ]
    content = coco(boxes, images={"a.jpg": (40, 30)})
    table = open_mask_table(str(write_coco(tmp_path / "train.json", content)), split="all")
    stored = np.zeros((30, 40), np.uint8)
    stored[:5, :10] = IGNORED
    stored[20:24, 20:24] = 2
    # Orientation 6 turns the picture clockwise. With orientation 3 nobody can tell, so labels stay.
    np.testing.assert_array_equal(table.targets[0], np.rot90(stored, -1) if orientation == 6 else stored)


def test_a_sound_mask_is_painted_whatever_its_box_is(tmp_path):
    boxes = [
        {"bbox": [5, 5, 0, 0], "category_id": 1, "segmentation": [[5, 5, 15, 5, 15, 15, 5, 15]]},
        {"bbox": [0, 0, 40, 30], "category_id": 2, "segmentation": [[0, 0, 40, 0, 40, 4, 0, 4]]},
        {"bbox": [0, 0, 40, 30], "category_id": 2, "segmentation": [[0, 26, 40, 26, 40, 30, 0, 30]]},
    ]
    write_picture(tmp_path / "a.png")
    table = open_mask_table(str(write_coco(tmp_path / "train.json", coco(boxes))), split="all")
    expected = np.zeros((30, 40), np.uint8)
    expected[5:15, 5:15] = 1
    expected[:4] = expected[26:] = 2
    np.testing.assert_array_equal(table.targets[0], expected)
    assert not table.faults


@pytest.mark.parametrize("on_mask_fault", ["drop", "raise"])
def test_coco_without_masks_is_refused(tmp_path, on_mask_fault):
    write_picture(tmp_path / "a.png")
    file = write_coco(tmp_path / "train.json", coco([{"bbox": [5, 5, 5, 5]}]))
    with pytest.raises(InputError, match="mask"):
        open_mask_table(str(file), split="all", on_mask_fault=on_mask_fault)


def test_digit_scenes_have_the_ink_of_their_digits():
    table = open_mask_table("digit_scenes:4", split="train")
    assert table.labels == ("background", *"0123456789")
    scene = make_digit_scenes(split="train", count=4).scene(2)
    classes = table.targets[2]
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        assert (classes[mask] == label + 1).all()
    assert (classes[~scene.masks.any(0)] == 0).all()
    counts = table.targets.count_pixels(classes=11, on_error="raise")
    assert counts.sum() == 4 * 160 * 160
    np.testing.assert_array_equal(counts, sum(np.bincount(table.targets[i].ravel(), minlength=11) for i in range(4)))
