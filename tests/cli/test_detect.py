"""A detector from boxes to a bundle, on the command line."""

import json
import re
from base64 import b64decode
from io import BytesIO

import numpy as np
import pytest
import torch
from PIL import Image

from box_files import coco, write_coco, write_picture
from parckit import create_detector
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
    "--data.workers=0",
)


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """Return the folder of a short training, with its bundle."""
    out = tmp_path_factory.mktemp("detect") / "run"
    main([*TRAIN, "--trainer.max_epochs=2", f"--out={out}"])
    main(["export", str(out / "best.ckpt"), "--out", str(out / "bundle"), "--nms=true", "--opset=17"])
    return out


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    path = tmp_path_factory.mktemp("photo") / "photo.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (90, 120, 3), dtype=np.uint8)).save(path)
    return path


def test_checkpoint_and_bundle_have_the_same_score(run, parckit, tmp_path):
    scores = []
    graphs = ((run / "bundle", f"--artefact={name}") for name in ("onnx-fp32", "onnx-fp32-nms"))
    for model in ((run / "best.ckpt",), *graphs):
        record = tmp_path / "record.json"
        printed = parckit("eval", *model, "--data=digit_scenes:32", "--data.split=val", "--record", record)
        assert "mAP at IoU 0.5" in printed
        scores.append(json.loads(record.read_text())["values"])
    assert scores[0]["task"] == "detect"
    # Boxes of the two engines differ by rounding, which may change the order of boxes with nearly equal scores.
    for score in scores[1:]:
        assert scores[0]["scalars"]["map_50"] == pytest.approx(score["scalars"]["map_50"], abs=0.1)
        assert scores[0]["tables"]["class_boxes"] == score["tables"]["class_boxes"]


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


def test_a_source_without_objects_is_refused_before_the_first_step(run, tmp_path, mistake):
    images = dict.fromkeys(("a.png", "b.png"), (40, 30))
    for split in ("train", "val"):
        for name in images:
            write_picture(tmp_path / split / name)
        boxes = [{"bbox": [1, 1, 9, 9]}] if split == "train" else []
        write_coco(tmp_path / f"{split}.json", coco(boxes, images=images))
    said = mistake(*TRAIN, "--data", tmp_path, "--data.batch_size=2", "--out", tmp_path / "x")
    assert said == f"{tmp_path}, val: none of its 2 pictures has an object"
    assert not (tmp_path / "x").exists()
    assert "none of its 2 pictures has an object" in mistake("eval", run / "bundle", "--data", tmp_path / "val.json")


def test_faulty_boxes_can_be_refused(run, tmp_path, mistake, parckit):
    for name in ("train", "val"):
        write_picture(tmp_path / name / "a.png")
        boxes = [{"bbox": [1, 1, 9, 9]}, {"bbox": [5, 5, 0, 3]}]
        write_coco(tmp_path / f"{name}.json", coco(boxes, categories={1: "1", 2: "2"}))
    faulty = (f"--data={tmp_path}", "--data.on_box_fault=raise")
    assert "a.png: zero size: 1: (5, 5, 5, 8)" in mistake(*TRAIN, *faulty, "--out", tmp_path / "x")
    assert "a.png: zero size: 1: (5, 5, 5, 8)" in mistake("eval", run / "bundle", *faulty)
    assert "images" in parckit("eval", run / "bundle", faulty[0])
    assert "on_box_fault=raise: only boxes have such faults" in mistake(
        "train", "--config=classify/digits_parcnet_xxs", "--data.on_box_fault=raise", "--out", tmp_path / "x"
    )


def test_fitted_priors_are_keywords_of_the_head(parckit, mistake):
    command = ("data", "priors", "digit_scenes:40", "--size=96x64", "--fit=contain")
    printed = parckit(*command)
    options = [line for line in printed.splitlines() if line.startswith("--model.head_kwargs=")]
    keywords = json.loads(options[0].removeprefix("--model.head_kwargs=").strip("'"))
    assert keywords == json.loads(
        parckit("data", "priors", "digit_scenes:40", "--size=96x64", "--fit=contain", "--json")
    )
    network = create_detector("ssd_test_resnet", num_classes=10, **keywords).eval()
    usual = create_detector("ssd_test_resnet", num_classes=10).eval()
    images = torch.zeros(1, 3, 96, 64)
    assert [tuple(one.shape) for one in network(images)] == [tuple(one.shape) for one in usual(images)]
    assert "nowhere: no such file or folder" in mistake("data", "priors", "nowhere")
    assert "--size x" in mistake("data", "priors", "digit_scenes", "--size=x")


def test_broken_pixels_and_look_alikes_are_found_across_splits(tmp_path, capsys):
    for split in ("train", "val"):
        for name in ("same.png", "other.png"):
            write_picture(tmp_path / split / name, size=(64, 48), seed=len(split) if name == "other.png" else 0)
        boxes = [{"bbox": [2, 3, 10, 12], "image_id": number} for number in range(2)]
        content = coco(boxes, images={"same.png": (64, 48), "other.png": (64, 48)}, categories={1: "cell"})
        write_coco(tmp_path / f"{split}.json", content)
    first = tmp_path / "train" / "same.png"
    with Image.open(first) as picture:
        picture.point(lambda value: value // 2).save(tmp_path / "val" / "same.png")
    cut = tmp_path / "val" / "other.png"
    cut.write_bytes(cut.read_bytes()[:-200])
    with pytest.raises(SystemExit, match="1"):
        main(["data", "check", str(tmp_path), "--task=detect", "--json", "--threads=1"])
    told = {entry["problem"]: (entry["file"], entry["detail"]) for entry in json.loads(capsys.readouterr().out)}
    assert told.keys() == {"looks alike", "broken"}
    assert told["looks alike"] == (str(tmp_path / "val" / "same.png"), f"as {first}, in another split")
    assert told["broken"][0] == str(cut)


def test_boxes_are_checked(tmp_path, parckit, mistake, capsys):
    for seed, name in enumerate(("a.png", "b.png")):
        write_picture(tmp_path / "cells" / "train" / name, seed=seed)
    boxes = [
        {"image_id": 0, "category_id": 1, "bbox": [1, 2, 10, 12]},
        {"image_id": 0, "category_id": 1, "bbox": [5, 5, 0, 3]},
    ]
    content = coco(boxes, images={"a.png": (40, 30), "b.png": (40, 30)}, categories={1: "cell"})
    write_coco(tmp_path / "cells" / "annotations" / "instances_train.json", content)
    source = tmp_path / "cells" / "annotations" / "instances_train.json"
    for options, problems in (((), ["tiny", "tiny"]), (("--smallest=30",), [])):
        with pytest.raises(SystemExit, match="1"):
            parckit("data", "check", source, "--task=detect", "--json", *options)
        told = sorted(entry["problem"] for entry in json.loads(capsys.readouterr().out))
        # The picture that stays in train has no object.
        assert told == ["empty class", *problems, "zero size"]
    assert "takes one source" in mistake("data", "check", "a", "b", "--task=detect")
    for option in ("--doubtful=3", "--model=x"):
        said = f"{option.replace('=', ' ')}: data check --task detect has no such option"
        assert mistake("data", "check", source, "--task=detect", option) == said
    assert re.search("no such|accepted are", mistake("data", "check", tmp_path / "none", "--task=detect"))
