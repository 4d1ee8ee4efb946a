from pathlib import Path

import numpy as np
import pytest

from box_files import fault_counts, fault_files, write_picture, write_yolo
from parckit.contract import InputError
from parckit.data.boxes import box_splits, open_boxes
from parckit.data.faults import harmful_faults

CAT = "0 0.175 0.3 0.25 0.4\n"
"""The box (2, 3, 12, 15) in a picture of 40x30 pixels."""


def _yaml(root: Path, text: str) -> str:
    (root / "data.yaml").write_text(text)
    return str(root / "data.yaml")


def test_shares_become_pixels_and_pictures_without_file_are_background(tmp_path):
    path = write_yolo(tmp_path, {"a": CAT + "1.0 0.5 0.5 1 1\n", "b": "", "c": None})
    for source in (path, tmp_path):
        table = open_boxes(str(source), split="all")
        assert table.labels == ("cat", "dog")
        assert table.targets[0].boxes.numpy() == pytest.approx(np.array([[2, 3, 12, 15], [0, 0, 40, 30]]), abs=1e-5)
        assert table.targets[0].labels.tolist() == [0, 1]
        assert [len(table.targets[index].labels) for index in range(3)] == [2, 0, 0]
        assert fault_files(table, "background") == [str(tmp_path / "images" / "train" / "c.png")]
        assert harmful_faults(table.faults) == ()
        assert table.targets[1].boxes.shape == (0, 4)


def test_polygons_are_boxes_and_masks(tmp_path):
    write_yolo(tmp_path, {"a": "1 0.05 0.1 0.3 0.1 0.3 0.5 0.05 0.5\n"})
    objects = open_boxes(str(tmp_path), split="all", masks=True).targets[0]
    assert objects.boxes.numpy() == pytest.approx(np.array([[2, 3, 12, 15]]), abs=1e-5)
    assert objects.masks.shape == (1, 30, 40)
    assert objects.masks[0, 3:15, 2:12].all()
    assert objects.masks.sum() == 120


def test_the_area_of_a_polygon_counts_and_else_that_of_the_box(tmp_path):
    triangle = "0 0.05 0.1 0.3 0.1 0.3 0.5\n"
    write_yolo(tmp_path, {"a": triangle + CAT.replace("0 ", "1 ", 1), "b": CAT})
    table = open_boxes(str(tmp_path), split="all")
    assert table.targets[0].areas.numpy() == pytest.approx([60, 120], abs=1e-3)
    assert table.targets[1].areas.numpy() == pytest.approx([120], abs=1e-3)


LAYOUTS = {
    "folders": ("train: images/train", "images/train/a.png", "labels/train/a.txt"),
    "mapping": ("names: {1: dog, 0: cat}\ntrain: images/train", "images/train/a.png", "labels/train/a.txt"),
    "path": ("path: deep\ntrain: images", "deep/images/a.png", "deep/labels/a.txt"),
    "a path of another machine": ("path: /datasets/mine\ntrain: images", "images/a.png", "labels/a.txt"),
    "roboflow": ("train: ../train/images\nnc: 2", "train/images/a.png", "train/labels/a.txt"),
    "a list": ("train: [images/x, images/y]", "images/y/a.png", "labels/y/a.txt"),
    "beside": ("train: pictures", "pictures/a.png", "pictures/a.txt"),
    "deeper": ("train: images", "images/x/y/a.png", "labels/x/y/a.txt"),
}


@pytest.mark.parametrize(("text", "picture", "labels"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, text, picture, labels):
    write_picture(tmp_path / picture)
    (tmp_path / labels).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / labels).write_text(CAT)
    (tmp_path / "images" / "x").mkdir(parents=True, exist_ok=True)
    names = "" if "names" in text else "names: [cat, dog]\n"
    table = open_boxes(_yaml(tmp_path, names + text), split="all")
    assert table.labels == ("cat", "dog")
    assert len(table.targets) == len(table.targets[0].labels) == 1


def test_text_files_list_pictures(tmp_path):
    write_yolo(tmp_path, {"a": CAT, "b": CAT, "c": CAT})
    for split, text in (("train", "./images/train/a.png\n"), ("val", f"{tmp_path}/images/train/b.png\n\n")):
        (tmp_path / f"{split}.txt").write_text(text)
    source = _yaml(tmp_path, "names: [cat, dog]\ntrain: train.txt\nval: val.txt\ntest:\n")
    assert box_splits(source) == ("train", "val")
    tables = {split: open_boxes(source, split=split) for split in ("train", "val")}
    assert [Path(table.name(0)).stem for table in tables.values()] == ["a", "b"]
    # The labels of c belong to a picture, though to none of the lists.
    assert fault_counts(tables["train"]) == {}


def test_what_is_held_out_depends_on_names_alone(tmp_path):
    held = []
    for root in ("here", "elsewhere/deep"):
        source = str(write_yolo(tmp_path / root, {f"{number:02}": CAT for number in range(12)}))
        train, val = (open_boxes(source, split=split) for split in ("train", "val"))
        assert (len(train.targets), len(val.targets)) == (10, 2)
        assert val.served == "the held-out part of train"
        held.append({Path(val.name(index)).name for index in range(2)})
    assert held[0] == held[1]


def test_faults(tmp_path):
    lines = [CAT, CAT, "7 0.5 0.5 0.1 0.1\n", "0 20 15 10 12\n", "0 0.95 0.5 0.2 0.1\n", "1 0.5 0.5 0 0.2\n"]
    write_yolo(tmp_path, {"a": "".join(lines), "b": CAT})
    orphan = tmp_path / "labels" / "train" / "nobody.txt"
    orphan.write_text(CAT)
    (tmp_path / "labels" / "train" / "classes.txt").write_text("cat\ndog\n")
    table = open_boxes(str(tmp_path), split="all")
    assert fault_counts(table) == {
        "duplicate": 1,
        "unknown class": 1,
        "wrong unit": 1,
        "partly outside": 1,
        "zero size": 1,
        "no picture": 1,
    }
    assert fault_files(table, "no picture") == [str(orphan)]
    assert fault_files(table, "wrong unit") == [str(tmp_path / "labels" / "train" / "a.txt")]
    assert table.targets[0].boxes.numpy() == pytest.approx(np.array([[2, 3, 12, 15], [34, 13.5, 40, 16.5]]), abs=1e-5)


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("0 0.5 0.5 0.1", "line 2: is '0 0.5 0.5 0.1'; accepted is class x y width height"),
        ("cat 0.5 0.5 0.1 0.1", "line 2"),
        ("0.5 0.5 0.5 0.1 0.1", "line 2"),
        ("0 0.5 0.5 nan 0.1", "must be finite"),
    ],
)
def test_wrong_lines_are_named(tmp_path, line, said):
    write_yolo(tmp_path, {"a": CAT + line})
    with pytest.raises(InputError, match=said) as caught:
        open_boxes(str(tmp_path), split="all")
    assert str(caught.value).startswith(str(tmp_path / "labels" / "train" / "a.txt"))
    assert len(str(caught.value).splitlines()) == 1


def test_pixels_are_refused(tmp_path):
    write_yolo(tmp_path, {"a": "0 20 15 10 12\n", "b": "1 20 15 10 12\n"})
    with pytest.raises(InputError, match=r"a\.txt: no box of train is in shares"):
        open_boxes(str(tmp_path), split="all")


WRONG = {
    "no yaml": ("names: [", "cannot be read as YAML"),
    "a text": ("cat", "must have the keys names"),
    "no names": ("train: images/train", "names is None"),
    "gaps": ("names: {0: cat, 2: dog}\ntrain: images/train", "map the numbers from 0"),
    "twice": ("names: [cat, cat]\ntrain: images/train", "names a class twice"),
    "no split": ("names: [cat]", "names no pictures"),
    "no place": ("names: [cat]\ntrain: {a: b}", "must be a folder, a text file, or a list"),
    "no folder": ("names: [cat]\ntrain: nowhere", "train is nowhere, but .*nowhere is neither"),
    "empty": ("names: [cat]\ntrain: labels/train", "holds no pictures"),
}


@pytest.mark.parametrize(("text", "said"), WRONG.values(), ids=WRONG)
def test_wrong_descriptions_are_named(tmp_path, text, said):
    write_yolo(tmp_path, {"a": CAT})
    source = _yaml(tmp_path, text)
    with pytest.raises(InputError, match=said) as caught:
        open_boxes(source, split="all")
    assert str(caught.value).startswith(source)
    assert len(str(caught.value).splitlines()) == 1


def test_no_file_of_labels_at_all_is_a_mistake(tmp_path):
    write_yolo(tmp_path, {"a": None, "b": None})
    with pytest.raises(InputError, match=r"train has 2 pictures, but no file of labels such as .*a\.txt"):
        open_boxes(str(tmp_path), split="all")


def test_pictures_may_lie_elsewhere(tmp_path):
    write_yolo(tmp_path / "far", {f"{number:02}": CAT for number in range(12)})
    (tmp_path / "near").mkdir()
    source = _yaml(tmp_path / "near", f"names: [cat, dog]\ntrain: {tmp_path}/far/images/train\n")
    near, far = (open_boxes(place, split="val") for place in (source, str(tmp_path / "far")))
    assert len(near.targets) == len(far.targets) == 2
    again = _yaml(tmp_path / "near", "names: [cat, dog]\ntrain: ../far/images/train\n")
    assert {open_boxes(again, split="val").name(index)[-6:] for index in range(2)} == {
        near.name(index)[-6:] for index in range(2)
    }
