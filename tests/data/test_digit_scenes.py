import pickle
import time

import numpy as np
import pytest

from parckit.contract import InputError
from parckit.data.boxes import box_splits, open_boxes
from parckit.data.digit_scenes import make_digit_scenes
from parckit.data.digits import open_digits
from parckit.processing import intersections


@pytest.fixture(scope="module")
def scenes():
    return open_boxes("digit_scenes:60", split="train", masks=True)


def test_counts():
    assert [len(open_boxes("digit_scenes", split=split).targets) for split in ("train", "val", "test", "all")] == [
        2000,
        200,
        400,
        2600,
    ]
    assert [len(open_boxes("digit_scenes:15", split=split).targets) for split in ("train", "val", "test")] == [15, 2, 3]
    assert box_splits("digit_scenes:15") == ("train", "val", "test")


def test_boxes_are_tight_around_the_masks(scenes):
    for objects in scenes.targets:
        assert len(objects.boxes) == len(objects.labels) == len(objects.masks)
        assert not objects.crowd.any()
        for box, mask in zip(objects.boxes.tolist(), objects.masks.numpy(), strict=True):
            rows, columns = np.nonzero(mask)
            assert box == [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]


def test_scenes_vary(scenes):
    targets = list(scenes.targets)
    assert {len(objects.labels) for objects in targets} == {*range(1, 9)}
    assert {label for objects in targets for label in objects.labels.tolist()} == {*range(10)}
    heights = np.concatenate([(objects.boxes[:, 3] - objects.boxes[:, 1]).numpy() for objects in targets])
    assert 8 <= heights.min() < 16
    assert 80 < heights.max() <= 115  # a turned digit is higher than 96
    pixels = np.stack([np.asarray(scenes.load(index)) for index in range(20)])
    assert pixels.shape == (20, 160, 160, 3)
    assert np.ptp(pixels.mean(axis=(1, 2)), axis=0).min() > 60


def test_digits_overlap_little_and_stand_out(scenes):
    for index, objects in enumerate(scenes.targets):
        assert objects.masks.sum(dim=0).max() <= 1
        boxes = objects.boxes.numpy()
        shared = intersections(boxes, boxes)
        areas = np.diag(shared).copy()
        np.fill_diagonal(shared, 0)
        # Visible ink may have a smaller box than all ink, by which the places were chosen.
        assert (shared / np.minimum(areas[:, None], areas[None, :])).max() < 0.25
        grey = np.asarray(scenes.load(index).convert("L"), dtype=float)
        rest = grey[~objects.masks.any(dim=0).numpy()].mean()
        assert all(abs(grey[mask].mean() - rest) > 20 for mask in objects.masks.numpy())


def test_a_picture_depends_only_on_split_index_and_seed(scenes):
    again = pickle.loads(pickle.dumps(open_boxes("digit_scenes:2000", split="train")))  # noqa: S301 - as workers do
    assert (np.asarray(again.load(41)) == np.asarray(scenes.load(41))).all()
    assert again.targets[7].boxes.tolist() == scenes.targets[7].boxes.tolist()
    assert again.targets[7].masks is None
    whole = open_boxes("digit_scenes:60", split="all")
    assert (np.asarray(whole.load(60)) == np.asarray(open_boxes("digit_scenes:60", split="val").load(0))).all()
    assert (np.asarray(whole.load(60)) != np.asarray(whole.load(0))).any()
    other = make_digit_scenes(split="train", seed=1)
    assert (np.asarray(other.load(41)) != np.asarray(scenes.load(41))).any()


def test_splits_use_the_digits_of_their_split(monkeypatch):
    used = {}

    def note(*, split):
        used[split] = open_digits(split=split)
        return used[split]

    monkeypatch.setattr("parckit.data.digit_scenes.open_digits", note)
    make_digit_scenes(split="all")
    assert {*used} == {"train", "val", "test"}
    pixels = {split: {digit.tobytes() for digit in table.pixels} for split, table in used.items()}
    assert not pixels["train"] & pixels["test"]
    assert not pixels["train"] & pixels["val"]


def test_size_and_names():
    small = make_digit_scenes(split="test", side=48)
    assert small.load(3).size == small.size(3) == (48, 48)
    assert max(float(small[index].boxes.max()) for index in range(20)) <= 48
    assert small.name(3) == "digit_scenes, test, picture 3"
    with pytest.raises(IndexError):
        small.load(400)
    with pytest.raises(InputError, match="side=20: must be at least 24"):
        make_digit_scenes(split="test", side=20)


def test_masks_are_there_on_demand(scenes):
    assert open_boxes("digit_scenes", split="val").targets[0].masks is None
    assert scenes.targets[0].masks.shape[1:] == (160, 160)


def test_a_picture_takes_milliseconds(scenes):
    scenes.load(0)
    start = time.process_time()
    for index in range(60):
        scenes.load(index)
        _ = scenes.targets[index]
    # A picture takes 2 ms of an idle core; other tests share the machine.
    assert time.process_time() - start < 60 * 0.01
