import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.ops import box_convert, box_iou

from box_files import coco, needs_bccd, write_coco, write_picture
from parckit.contract import InputError, Preprocessing
from parckit.data.prior_fitting import best_overlaps, fit_priors
from parckit.networks.ssd import SsdSettings

START = SsdSettings().priors


def test_the_best_prior_is_that_of_all_pairs():
    rng = np.random.default_rng(0)
    sides = rng.uniform(0.02, 0.9, (200, 2))
    boxes = np.concatenate([rng.uniform(sides / 2, 1 - sides / 2), sides], axis=1)
    both = (torch.from_numpy(side.astype(np.float64)) for side in (boxes, START.priors((192, 320))))
    corners = [box_convert(side, "cxcywh", "xyxy") for side in both]
    # The priors are float32.
    expected = box_iou(*corners).amax(dim=1)
    np.testing.assert_allclose(best_overlaps(START, boxes, size=(192, 320)), expected, atol=1e-6)


@needs_bccd
@pytest.mark.parametrize(("side", "before", "after"), [(320, 0.39, 0.55), (512, 0.51, 0.9)])
def test_the_platelets_of_bccd_get_priors(bccd, side, before, after):
    fitted = fit_priors(str(bccd), preprocessing=Preprocessing(size=(side, side), fit="stretch"), start=START)
    assert fitted.counts == {"RBC": 2381, "WBC": 214, "Platelets": 209}
    assert fitted.before["Platelets"] == pytest.approx(before, abs=0.01)
    assert fitted.after["Platelets"] > after
    assert min(fitted.after[label] for label in ("RBC", "WBC")) > 0.97
    assert fitted.priors.per_position == START.per_position
    assert list(fitted.priors.scales) == sorted(fitted.priors.scales)


def test_crowds_and_classes_without_boxes_do_not_matter(tmp_path):
    images = {f"{number}.png": (64, 64) for number in range(4)}
    for name in images:
        write_picture(tmp_path / "train" / name, size=(64, 64))
    boxes = [{"bbox": [20, 20, 9, 9], "image_id": number} for number in range(4)]
    boxes.append({"bbox": [0, 0, 60, 60], "iscrowd": 1})
    source = str(write_coco(tmp_path / "train.json", coco(boxes, images=images)))
    fitted = fit_priors(source, preprocessing=Preprocessing(size=(64, 64)), start=START)
    assert fitted.counts == {"cat": 3}
    write_coco(tmp_path / "train.json", coco(boxes[-1:], images=images))
    with pytest.raises(InputError, match=r"train\.json, .*: has no box to fit priors to"):
        fit_priors(source, preprocessing=Preprocessing(size=(64, 64)), start=START)


def test_no_picture_is_made_to_measure_it(tmp_path, monkeypatch):
    images = {f"{number}.png": (40 + number, 30) for number in range(4)}
    for name, size in images.items():
        write_picture(tmp_path / "train" / name, size=size)
    boxes = [{"bbox": [5, 5, 20, 20], "image_id": number} for number in range(4)]
    source = str(write_coco(tmp_path / "train.json", coco(boxes, images=images)))
    monkeypatch.setattr(Image, "new", None)
    fitted = fit_priors(source, preprocessing=Preprocessing(size=(64, 64), fit="contain"), start=START)
    assert fitted.counts == {"cat": 3}


def test_priors_that_would_match_fewer_boxes_are_not_taken():
    fitted = fit_priors("digit_scenes:40", preprocessing=Preprocessing(size=(96, 96), fit="stretch"), start=START)
    assert np.mean([*fitted.after.values()]) >= np.mean([*fitted.before.values()])
