import json
import logging
from pathlib import Path

import numpy as np
import pytest

from box_files import coco, write_coco, write_picture, write_yolo
from parckit.cli.main import main
from parckit.data.boxes import open_boxes

SPLITS = ("train", "val", "test")
SIZES = {"a.png": (400, 300), "b.jpg": (333, 777), "c.png": (40, 30)}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a COCO folder with three splits, odd sizes and a picture without objects."""
    rng = np.random.default_rng(0)
    for split in SPLITS:
        boxes = []
        for image, (name, size) in enumerate(SIZES.items()):
            write_picture(tmp_path / "coco" / split / name, size=size, seed=len(boxes))
            for _ in range(7 if name != "c.png" else 0):
                low, high = np.sort(rng.uniform(0, size, (2, 2)), axis=0)
                box = [*low.tolist(), *(high - low).tolist()]
                boxes.append({"image_id": image, "category_id": int(rng.choice([3, 8])), "bbox": box})
        boxes.append({"image_id": 0, "category_id": 3, "bbox": [5, 6, 1, 1]})
        content = coco(boxes, images=SIZES, categories={3: "red cat", 8: "a:b <&>"})
        write_coco(tmp_path / "coco" / "annotations" / f"instances_{split}.json", content)
    return tmp_path / "coco"


def _content(source: Path, split: str) -> dict[str, list]:
    """Return picture -> its objects, sorted."""
    table = open_boxes(str(source), split=split)
    content = {}
    for index, objects in enumerate(table.targets):
        names = [table.labels[label] for label in objects.labels.tolist()]
        content[Path(table.name(index)).read_bytes()] = sorted(
            zip(names, objects.crowd.tolist(), objects.boxes.tolist(), strict=True)
        )
    return content


def test_a_round_trip_keeps_pictures_and_boxes(source, tmp_path, parckit):
    before = source
    for number, form in enumerate(("voc", "yolo", "coco", "yolo", "voc")):
        out = tmp_path / f"{number}_{form}"
        told = parckit("data", "convert", before, "--to", form, "--out", out)
        assert told == f"{out}: 3 train pictures, 3 val pictures, 3 test pictures\n"
        before = out
        for split in SPLITS:
            converted, original = _content(out, split), _content(source, split)
            assert converted.keys() == original.keys()
            for picture, objects in original.items():
                assert [item[:2] for item in converted[picture]] == [item[:2] for item in objects]
                ours, theirs = ([item[2] for item in side] for side in (converted[picture], objects))
                # The formats are written with 4 decimal places of pixels or 8 of shares.
                assert np.abs(np.array(ours) - np.array(theirs)).max(initial=0) < 0.01


def test_the_files_are_where_other_tools_look_for_them(source, tmp_path, parckit):
    layouts = {
        "coco": ["annotations/instances_val.json", "train/a.png"],
        "voc": ["Annotations/a_2.xml", "JPEGImages/a_2.png", "ImageSets/Main/test.txt", "classes.txt"],
        "yolo": ["data.yaml", "images/val/a_2.png", "labels/val/a_2.txt", "labels/train/c.txt"],
    }
    for form, files in layouts.items():
        out = tmp_path / f"{form}_files"
        parckit("data", "convert", source, "--to", form, "--out", out)
        assert [file for file in files if not (out / file).is_file()] == []


def test_digit_scenes_get_pictures_and_masks(tmp_path, parckit):
    parckit("data", "convert", "digit_scenes:6", "--to", "coco", "--out", tmp_path / "out")
    table = open_boxes(str(tmp_path / "out"), split="train", masks=True)
    scenes = open_boxes("digit_scenes:6", split="train", masks=True)
    assert len(table.targets) == 6
    assert table.labels == scenes.labels
    for index in range(6):
        assert (np.asarray(table.load(index)) == np.asarray(scenes.load(index))).all()
        assert (table.targets[index].masks == scenes.targets[index].masks).all()
        assert table.targets[index].boxes.tolist() == scenes.targets[index].boxes.tolist()


@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")  # pycocotools and numpy 2
def test_written_coco_files_are_read_by_pycocotools(tmp_path, parckit):
    pycocotools = pytest.importorskip("pycocotools.coco")
    parckit("data", "convert", "digit_scenes:3", "--to", "coco", "--out", tmp_path / "out")
    index = pycocotools.COCO(str(tmp_path / "out" / "annotations" / "instances_train.json"))
    scenes = open_boxes("digit_scenes:3", split="train", masks=True)
    masks = [index.annToMask(annotation) for annotation in index.loadAnns(index.getAnnIds([1]))]
    assert (np.stack(masks) == scenes.targets[0].masks.numpy()).all()


def test_the_held_out_part_becomes_val(tmp_path, parckit):
    write_yolo(tmp_path / "in", {f"{number:02}": "0 0.5 0.5 0.5 0.5\n" for number in range(11)})
    held = open_boxes(str(tmp_path / "in"), split="val")
    out = tmp_path / "out"
    assert parckit("data", "convert", tmp_path / "in", "--to=voc", "--out", out).endswith(
        "9 train pictures, 2 val pictures\n"
    )
    val = open_boxes(str(out), split="val")
    assert {Path(val.name(i)).name for i in range(2)} == {Path(held.name(i)).name for i in range(2)}


def test_masks_turn_with_their_picture(tmp_path, parckit):
    write_picture(tmp_path / "in" / "train" / "a.png", size=(40, 30), orientation=6)
    box = {"bbox": [2, 3, 10, 12], "segmentation": [[2, 3, 12, 3, 12, 15, 2, 15]]}
    write_coco(tmp_path / "in" / "train.json", coco([box]))
    write_picture(tmp_path / "in" / "val" / "b.png", size=(40, 30))
    write_coco(tmp_path / "in" / "val.json", coco([box], images={"b.png": (40, 30)}))
    parckit("data", "convert", tmp_path / "in", "--to=coco", "--out", tmp_path / "out")
    for split in ("train", "val"):
        before, after = (open_boxes(str(tmp_path / name), split=split, masks=True) for name in ("in", "out"))
        assert before.targets[0].boxes.tolist() == after.targets[0].boxes.tolist()
        assert (before.targets[0].masks == after.targets[0].masks).all()
    content = json.loads((tmp_path / "out" / "annotations" / "instances_val.json").read_text())
    assert content["annotations"][0]["segmentation"] == box["segmentation"]
    assert content["annotations"][0]["area"] == 120


def test_crowds_stay_where_the_format_has_them(tmp_path, parckit, caplog):
    for split in ("train", "val"):
        write_picture(tmp_path / "in" / split / "a.png")
        boxes = [{"bbox": [1, 1, 9, 9]}, {"bbox": [20, 1, 9, 9], "iscrowd": 1}]
        write_coco(tmp_path / "in" / f"{split}.json", coco(boxes))
    for form in ("voc", "yolo"):
        parckit("data", "convert", tmp_path / "in", "--to", form, "--out", tmp_path / form)
    assert open_boxes(str(tmp_path / "voc"), split="val").targets[0].crowd.tolist() == [False, True]
    assert open_boxes(str(tmp_path / "yolo"), split="val").targets[0].crowd.tolist() == [False]
    assert [record.message for record in caplog.records if record.levelno == logging.WARNING] == [
        "2 boxes of crowds or difficult objects are left out; YOLO files cannot mark them"
    ]


def test_the_action_has_help(capsys):
    with pytest.raises(SystemExit) as ending:
        main(["data", "convert", "--help"])
    assert ending.value.code == 0
    assert "parckit data convert" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "said"),
    [
        (["nowhere", "--to=voc", "--out=out"], "nowhere: no such file or folder"),
        (["digit_scenes", "--to=csv", "--out=out"], "--to"),
        (["digit_scenes", "--to=voc"], "out"),
        (["digit_scenes:x", "--to=voc", "--out=out"], "digit_scenes:x"),
        (["digit_scenes", "--out=out"], "to"),
        (["coco", "--to=voc", "--out=coco/new"], "coco/new: is inside coco"),
        (["coco", "--to=voc", "--out=coco"], "coco: is inside coco"),
        (["coco/annotations/instances_val.json", "--to=yolo", "--out=full"], "full: exists already"),
        (["faulty", "--to=coco", "--out=out", "--on_box_fault=raise"], "b.txt: zero size: cat: (20, 15, 20, 15)"),
        (["broken", "--to=coco", "--out=out"], "broken/labels/train/a.txt, line 1: is '0 1'"),
        (["lines", "--to=voc", "--out=out"], "class 'two\\nlines': cannot be written to VOC files"),
    ],
)
def test_mistakes_end_with_one_line(source, tmp_path, monkeypatch, mistake, argv, said):
    write_yolo(tmp_path / "faulty", {"a": "0 0.5 0.5 1 1", "b": "0 0.5 0.5 0 0"})
    write_yolo(tmp_path / "broken", {"a": "0 1", "b": ""})
    path = write_yolo(tmp_path / "lines", {"a": "0 0.5 0.5 1 1", "b": ""})
    path.write_text('names: ["two\\nlines", dog]\ntrain: images/train\n')
    write_picture(tmp_path / "full" / "a.png")
    monkeypatch.chdir(tmp_path)
    assert said in mistake("data", "convert", *argv)
    assert not (tmp_path / "out").exists()
