import json
import sys
from pathlib import Path

import numpy as np
import pytest

from box_files import (
    NEAR_DUPLICATES,
    coco,
    fault_counts,
    fault_files,
    needs_bccd,
    numbers_of,
    write_coco,
    write_picture,
)
from parckit.contract import InputError, MissingExtraError
from parckit.data import BoxTable
from parckit.data.boxes import box_splits, open_boxes
from parckit.data.segments import encode_mask

BOX = {"bbox": [2, 3, 10, 12]}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_picture(tmp_path / "train" / "a.png")
    return tmp_path


def _write(folder: Path, content: object) -> Path:
    return write_coco(folder / "annotations" / "instances_train.json", content)


def _open(folder: Path, boxes, **options):
    masks = options.pop("masks", False)
    return open_boxes(str(_write(folder, coco(boxes, **options))), split="all", masks=masks)


@needs_bccd
def test_bccd(bccd):
    tables = {split: open_boxes(str(bccd), split=split) for split in ("train", "val", "test")}
    assert [len(table.targets) for table in tables.values()] == [205, 87, 72]
    assert [sum(len(table.targets[i].labels) for i in range(len(table.targets))) for table in tables.values()] == [
        2804,
        1137,
        945,
    ]
    near = [file for table in tables.values() for file in fault_files(table, "near duplicate")]
    assert numbers_of(near) == sorted(NEAR_DUPLICATES)
    assert all({*fault_counts(table)} == {"near duplicate"} for table in tables.values())
    table = tables["val"]
    assert table.labels == ("RBC", "WBC", "Platelets")
    assert table.load(0).size == table.size(0) == (640, 480)
    content = json.loads((bccd / "annotations" / "instances_val.json").read_text())
    name = Path(table.name(0)).name
    (image,) = [image["id"] for image in content["images"] if image["file_name"] == name]
    expected = [annotation["bbox"] for annotation in content["annotations"] if annotation["image_id"] == image]
    boxes = table.targets[0].boxes.numpy()
    boxes[:, 2:] -= boxes[:, :2]
    assert boxes.tolist() == expected


LAYOUTS = {
    "official": ("annotations/instances_train2017.json", "train2017/a.png"),
    "images in a folder": ("annotations/instances_train2017.json", "images/train2017/a.png"),
    "short names": ("annotations/train.json", "images/a.png"),
    "roboflow": ("train/_annotations.coco.json", "train/a.png"),
    "cvat": ("annotations/instances_default.json", "images/a.png"),
    "label studio": ("result.json", "images/a.png"),
    "in the folder above": ("annotations/train.json", "a.png"),
}


@pytest.mark.parametrize(("labels", "picture"), LAYOUTS.values(), ids=LAYOUTS)
def test_layouts(tmp_path, labels, picture):
    path = write_picture(tmp_path / picture)
    write_coco(tmp_path / labels, coco([BOX]))
    # Files for other tasks lie beside the official ones.
    if labels == LAYOUTS["official"][0]:
        write_coco(tmp_path / "annotations" / "person_keypoints_train2017.json", "{}")
        write_coco(tmp_path / "annotations" / "captions_train2017.json", "{}")
    assert box_splits(str(tmp_path)) == ("train", "val")
    table = open_boxes(str(tmp_path), split="all")
    assert table.name(0) == str(path)
    assert table.targets[0].boxes.tolist() == [[2, 3, 12, 15]]


def test_a_file_is_the_split_that_it_is_called_like(folder):
    path = write_coco(folder / "val.json", coco([BOX]))
    write_picture(folder / "val" / "a.png")
    assert open_boxes(str(path), split="val").served == "val"
    with pytest.raises(InputError, match="has no train split, only val"):
        open_boxes(str(path), split="train")


def test_names_may_contain_folders_also_those_of_windows(folder):
    write_picture(folder / "train" / "deep" / "b.png")
    images = {"deep\\b.png": (40, 30), "a.png": (40, 30)}
    assert len(_open(folder, [BOX], images=images).targets) == 2


def test_gaps_between_category_ids_are_closed_in_the_order_of_the_ids(folder):
    table = _open(folder, [BOX | {"category_id": 90}], categories={90: "toothbrush", 7: "train", 1: "person"})
    assert table.labels == ("person", "train", "toothbrush")
    assert table.targets[0].labels.tolist() == [2]


def test_the_name_of_a_roboflow_project_is_no_class(folder):
    content = coco([BOX], categories={0: "animals", 1: "cat", 2: "dog"})
    for category in content["categories"]:
        category["supercategory"] = "none" if category["id"] == 0 else "animals"
    assert open_boxes(str(_write(folder, content)), split="all").labels == ("cat", "dog")
    content["annotations"][0]["category_id"] = 0
    assert open_boxes(str(_write(folder, content)), split="all").labels == ("animals", "cat", "dog")


def _mask() -> np.ndarray:
    mask = np.zeros((30, 40), dtype=np.bool_)
    mask[3:15, 2:12] = True
    mask[5:8, 4:6] = False
    return mask


def _runs(mask: np.ndarray) -> list[int]:
    """Return the lengths of runs, column by column, as COCO counts them: the first run is of zeros."""
    pixels = mask.T.ravel()
    edges = np.flatnonzero(np.diff(pixels)) + 1
    lengths = np.diff([0, *edges, len(pixels)]).tolist()
    return [0, *lengths] if pixels[0] else lengths


def test_masks_are_polygons_or_runs(folder):
    mask = _mask()
    square = [[2, 3, 12, 3, 12, 15, 2, 15]]
    segments = [square, {"size": [30, 40], "counts": _runs(mask)}, encode_mask(mask)]
    boxes = [{"bbox": [2 + index, 3, 10, 12], "segmentation": segment} for index, segment in enumerate(segments)]
    masks = _open(folder, boxes, masks=True).targets[0].masks
    filled = mask.copy()
    filled[3:15, 2:12] = True
    assert (masks[0].numpy() == filled).all()
    assert (masks[1].numpy() == mask).all()
    assert (masks[2].numpy() == mask).all()
    assert _open(folder, boxes).targets[0].masks is None


def test_areas_are_those_of_the_file(folder):
    areas = [77, None, -3, "x", 10**400]
    boxes = [{"bbox": [2 + 7 * index, 3, 5, 4], "area": area} for index, area in enumerate(areas)]
    assert _open(folder, boxes).targets[0].areas.tolist() == [77, 20, 20, 20, 20]


def test_crowds_are_marked(folder):
    runs = {"size": [30, 40], "counts": _runs(_mask())}
    crowd = BOX | {"iscrowd": 1, "segmentation": runs, "category_id": 2}
    objects = _open(folder, [BOX | {"segmentation": [[2, 3, 12, 3, 12, 15]]}, crowd], masks=True).targets[0]
    assert objects.crowd.tolist() == [False, True]
    assert objects.masks[1].sum() == _mask().sum()


@pytest.mark.parametrize(
    ("segment", "said"),
    [
        ([[1, 1, 5, 5]], "less than 3 points"),
        ([], "has no mask"),
        ({"size": [40, 30], "counts": [1200]}, "not \\[30, 40\\]"),
        ({"size": [30, 40], "counts": [1, 2]}, "do not fill"),
        ([[1, 1, 5, 5, 1e300, 8]], "less than 3 points near the picture"),
        ({"counts": 7}, "neither polygons nor runs"),
        ({"size": [30, 40], "counts": "PP"}, "cannot be decoded"),
        ({"size": [30, 40], "counts": "0"}, "cannot be decoded"),
        ({"size": [30, 40], "counts": "zzzz"}, "cannot be decoded"),
        ({"size": [30, 40], "counts": "h0111"}, "cannot be decoded"),
        (encode_mask(np.zeros((30, 40), dtype=np.bool_)), "without any pixel"),
        ({"size": [30, 40], "counts": [1200]}, "without any pixel"),
        ([[50, 35, 60, 35, 60, 45]], "without any pixel"),
        ([[5, 5, 9, 5, 7, 5]], "without any pixel"),
    ],
)
def test_bad_masks_drop_the_object_only_if_masks_are_wanted(folder, segment, said):
    boxes = [BOX | {"segmentation": segment}, {"bbox": [20, 3, 10, 12], "segmentation": [[20, 3, 30, 3, 30, 15]]}]
    table = _open(folder, boxes, masks=True)
    assert len(table.targets[0].labels) == 1
    (fault,) = table.faults
    assert fault.kind == "bad mask"
    assert fault.file == table.name(0)
    with pytest.raises(InputError, match=said):
        open_boxes(str(folder / "annotations" / "instances_train.json"), split="all", masks=True, on_box_fault="raise")
    assert len(_open(folder, boxes).targets[0].labels) == 2


def test_masks_that_are_nowhere_are_refused(folder):
    with pytest.raises(InputError, match="has no masks"):
        _open(folder, [BOX], masks=True)


def test_masks_need_a_package_that_the_message_names(folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "faster_coco_eval.core.mask", None)
    boxes = [BOX | {"segmentation": [[2, 3, 12, 3, 12, 15]]}]
    assert len(_open(folder, boxes).targets) == 1
    with pytest.raises(MissingExtraError, match=r"faster-coco-eval.*parckit\[eval\]"):
        _open(folder, boxes, masks=True)


def test_faults_are_counted_with_their_files(folder):
    boxes = [
        BOX,
        {"bbox": [2, 3, 10, 11.9]},
        {"bbox": [2, 3, 10, 12], "category_id": 2},
        {"bbox": [5, 5, 0, 4]},
        {"bbox": [35, 20, 10, 4]},
        {"bbox": [50, 3, 4, 4]},
        {"bbox": [0.1, 0.2, 0.3, 0.4]},
        {"bbox": [1, 1, 3, 3], "category_id": 9},
        {"bbox": [1, 1, 3, 3], "image_id": 77},
        {"bbox": [1, 1, 3, 3], "image_id": 1},
        {"bbox": [1, 1, 3, 3], "image_id": 2},
    ]
    write_picture(folder / "train" / "b.png", size=(50, 30))
    images = {"a.png": (40, 30), "b.png": (40, 30), "missing.png": (40, 30)}
    table = _open(folder, boxes, images=images)
    assert fault_counts(table) == {
        "zero size": 1,
        "partly outside": 1,
        "outside": 1,
        "duplicate": 1,
        "wrong unit": 1,
        "unknown class": 1,
        "no picture": 1,
        "wrong size": 1,
        "missing picture": 1,
    }
    objects = table.targets[0]
    assert objects.boxes.tolist() == [[2, 3, 12, 15], [2, 3, 12, 15], [35, 20, 40, 24]]
    assert objects.labels.tolist() == [0, 1, 0]
    assert fault_files(table, "wrong size") == [str(folder / "train" / "b.png")]
    assert len(table.targets) == 1


def test_rounded_coordinates_are_no_faults(folder):
    table = _open(folder, [{"bbox": [-0.01, 0, 40.02, 30.01]}])
    assert fault_counts(table) == {}
    assert table.targets[0].boxes.tolist() == [[0, 0, 40, 30]]


def test_a_box_may_cover_the_only_pixel_of_a_picture(folder):
    write_picture(folder / "train" / "dot.png", size=(1, 1))
    images = {"a.png": (40, 30), "dot.png": (1, 1)}
    table = _open(folder, [BOX, {"bbox": [0, 0, 1, 1], "image_id": 1}], images=images)
    assert fault_counts(table) == {}
    assert table.targets[1].boxes.tolist() == [[0, 0, 1, 1]]


WRONG = {
    "no json": ("{", "cannot be read as JSON"),
    "a list": ([], "is no COCO file"),
    "no list": ({"images": {}, "annotations": [], "categories": []}, "needs the lists images"),
    "no file name": ({"images": [{"id": 1}], "annotations": [], "categories": []}, "needs id, file_name"),
    "no category": (coco([BOX], categories={}), "categories: is empty"),
    "one name twice": (coco([BOX], categories={1: "cat", 2: "cat"}), "the same id or name"),
    "a category without name": ({"images": [], "annotations": [], "categories": [{"id": 1}]}, "categories: each needs"),
    "three numbers": (coco([BOX, {"bbox": [1, 2, 3]}]), r"annotation 1: bbox is \[1, 2, 3\]; must be four numbers"),
    "a text": (coco([{"bbox": ["a", 2, 3, 4]}]), "annotation 0: bbox is .* must be four numbers"),
    "no box": (coco([BOX, {}]), "annotation 1: has no bbox"),
    "a list as id": (coco([BOX | {"image_id": [1]}]), r"annotation 0: image_id is \[1\]; must be an id"),
    "a list as category": (coco([BOX | {"category_id": [1]}]), r"annotation 0: category_id is \[1\]"),
    "no annotation": (coco([BOX]) | {"annotations": [7]}, r"annotations\[0\] is 7; must be a mapping"),
    "not a number": (coco([BOX, {"bbox": [1, 2, float("nan"), 4]}]), r"train\.json: annotation 1: .*must be finite"),
    "too large": (coco([{"bbox": [1e308, 2, 1e308, 4]}]), "must be finite"),
    "a huge picture": (coco([BOX], images={"a.png": (10**30, 30)}), "needs id, file_name"),
    "shares": (coco([{"bbox": [0.1, 0.2, 0.3, 0.4]}, {"bbox": [0.5, 0.5, 0.5, 0.5]}]), "as shares of the picture"),
    "no picture": (coco([BOX], images={"b.png": (40, 30)}), "b.png was not found; looked in"),
    "no pictures": (coco([], images={}), "lists no pictures"),
}


@pytest.mark.parametrize(("content", "said"), WRONG.values(), ids=WRONG)
def test_wrong_files_are_named(folder, content, said):
    path = _write(folder, content)
    with pytest.raises(InputError, match=said) as caught:
        open_boxes(str(path), split="all")
    assert len(str(caught.value).splitlines()) == 1
    assert str(caught.value).startswith(str(path))


def test_faults_name_the_picture_and_the_annotation(folder):
    write_picture(folder / "train" / "b.png", size=(50, 30))
    boxes = [BOX, {"bbox": [5, 5, 0, 4]}, BOX | {"category_id": 9}, BOX | {"image_id": 77}]
    table = _open(folder, boxes, images={"a.png": (40, 30), "b.png": (40, 30)})
    told = {fault.kind: (Path(fault.file).name, fault.detail) for fault in table.faults}
    assert told == {
        "no picture": ("instances_train.json", "annotation 3 has the image_id 77, which is not listed"),
        "unknown class": ("a.png", "the category_id 9 is not listed (instances_train.json, annotation 2)"),
        "wrong size": (
            "b.png",
            "the labels say 40x30, but the picture has 50x30 pixels (instances_train.json)",
        ),
        "zero size": ("a.png", "cat: (5, 5, 5, 9) in 40x30 pixels (instances_train.json, annotation 1)"),
    }


def test_an_image_that_is_listed_twice_is_refused(folder):
    content = coco([BOX])
    content["images"].append(content["images"][0] | {"id": 5})
    with pytest.raises(InputError, match=r"lists the picture a\.png twice"):
        open_boxes(str(_write(folder, content)), split="all")


def test_two_files_of_one_split_are_refused(folder):
    for year in (2014, 2017):
        write_coco(folder / "annotations" / f"instances_train{year}.json", coco([BOX]))
    with pytest.raises(InputError, match=r"instances_train2014\.json and instances_train2017\.json both mean"):
        open_boxes(str(folder), split="train")


def _names(table: BoxTable) -> list[str]:
    return [Path(table.name(index)).name for index in range(len(table.targets))]


def test_the_held_out_part_is_drawn_from_usable_pictures(folder):
    names = [f"{number:02}.png" for number in range(20)]
    for name in names:
        write_picture(folder / "train" / name)
    boxes = [BOX | {"image_id": number} for number in range(20)]
    path = str(_write(folder, coco(boxes, images=dict.fromkeys(names, (40, 30)))))
    clean = _names(open_boxes(path, split="val"))
    for name in clean:
        write_picture(folder / "train" / name, size=(50, 30))
    train, val = (open_boxes(path, split=split) for split in ("train", "val"))
    assert len(val.targets) == 2
    assert not {*_names(val)} & {*clean, *_names(train)}
    assert (fault_counts(train), fault_counts(val)) == ({"wrong size": 2}, {})
