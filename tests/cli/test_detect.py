"""A detector from boxes to a bundle, on the command line."""

import json
import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from box_files import coco, write_coco, write_picture
from parckit.cli.main import main

TRAIN = (
    "train",
    "--config=detect/digit_scenes_tinydet",
    "--data=digit_scenes:32",
    "--model.name=test_resnet",
    "--model.kwargs={}",
    "--model.head_kwargs={width: 16, depth: 1, strides: [8, 16]}",
    "--data.preprocessing.size=[64, 64]",
    "--data.batch_size=8",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a short training, with its bundle."""
    out = tmp_path_factory.mktemp("detect") / "run"
    main([*TRAIN, "--trainer.max_epochs=2", f"--out={out}"])
    main(["export", str(out / "best.ckpt"), "--out", str(out / "bundle")])
    return out


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    return path


def test_checkpoint_and_bundle_have_the_same_score(run, parckit, tmp_path):
    scores = []
    for model in (run / "best.ckpt", run / "bundle"):
        record = tmp_path / "record.json"
        printed = parckit("eval", model, "--data=digit_scenes:32", "--data.split=val", "--record", record)
        assert "mAP at IoU 0.5" in printed
        scores.append(json.loads(record.read_text())["values"])
    assert scores[0]["task"] == "detect"
    # Boxes of the two engines differ by rounding, which may change the order of boxes with nearly equal scores.
    assert scores[0]["scalars"]["map_50"] == pytest.approx(scores[1]["scalars"]["map_50"], abs=0.1)
    assert scores[0]["tables"]["class_boxes"] == scores[1]["tables"]["class_boxes"]


def test_predict_gives_boxes_in_pixels_of_the_picture(run, photo, parckit, tmp_path):
    printed = parckit("predict", run / "bundle", photo, "--threshold", "0.001", "--json", "--draw", tmp_path / "drawn")
    (answer,) = json.loads(printed).values()
    assert answer
    assert answer[0].keys() == {"class", "score", "box"}
    boxes = np.array([entry["box"] for entry in answer])
    assert (boxes >= 0).all()
    assert (boxes <= [120, 90, 120, 90]).all()
    with Image.open(next((tmp_path / "drawn").iterdir())) as drawn:
        assert drawn.size == (120, 90)


def test_the_report_shows_curves_confusion_and_drawn_boxes(run, parckit):
    parckit("report", run, "--data", "digit_scenes:32", "--data.split=val")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "Precision and recall" in page
    assert "mAP at IoU 0.5" in page
    assert "Confusion matrix" in page
    assert 'class="tiles large"' in page
    first = re.search(r'class="heading".*?<img src="data:image/webp;base64,([^"]+)"', page, re.DOTALL)
    with Image.open(BytesIO(b64decode(first[1]))) as tile:
        assert max(tile.size) > 64  # the input's size; boxes are drawn larger


def test_mistakes_are_named(run, mistake, tmp_path):
    assert "boxes come from one source" in mistake(
        *TRAIN, "--data=[digit_scenes:3, digit_scenes:4]", "--out", tmp_path / "x"
    )
    assert "data.sampling=balanced" in mistake(*TRAIN, "--data.sampling=balanced", "--out", tmp_path / "x")
    assert "only classifiers" in mistake("eval", run / "bundle", "--data=digit_scenes:9", "--data.classes=1,2")
    assert not (tmp_path / "x").exists()


def test_boxes_are_checked(tmp_path, parckit, mistake):
    for name in ("a.png", "b.png"):
        write_picture(tmp_path / "cells" / "train" / name)
    boxes = [
        {"image_id": 0, "category_id": 1, "bbox": [1, 2, 10, 12]},
        {"image_id": 0, "category_id": 1, "bbox": [5, 5, 0, 3]},
    ]
    content = coco(boxes, images={"a.png": (40, 30), "b.png": (40, 30)}, categories={1: "cell"})
    write_coco(tmp_path / "cells" / "annotations" / "instances_train.json", content)
    with pytest.raises(SystemExit, match="1"):
        parckit("data", "check", tmp_path / "cells" / "annotations" / "instances_train.json", "--task=detect")
    assert "takes one source" in mistake("data", "check", "a", "b", "--task=detect")
    assert re.search("no such|accepted are", mistake("data", "check", tmp_path / "none", "--task=detect"))
