import pickle
import time

import numpy as np
import pytest
from PIL import ExifTags, Image

from box_files import (
    coco,
    fault_counts,
    fault_files,
    needs_bccd,
    voc_object,
    write_coco,
    write_picture,
    write_voc,
    write_yolo,
)
from parckit.contract import InputError
from parckit.data import DrawnImages, IndexedImages, Sample
from parckit.data.boxes import box_splits, open_box_table, open_boxes
from parckit.data.duplicates import NEAR_DUPLICATE_IOU, find_overlaps
from parckit.data.faults import harmful_faults
from parckit.data.loader import collate_listed
from parckit.data.turning import turn_boxes, turn_pixels
from parckit.processing import box_iou

TO_STORED = {
    1: None,
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}
"""EXIF orientation -> how an upright picture is stored with it."""


def _patch(picture: Image.Image) -> list[int]:
    """Return the box around the white pixels."""
    rows, columns = np.nonzero(np.asarray(picture.convert("L")) > 128)
    return [int(columns.min()), int(rows.min()), int(columns.max()) + 1, int(rows.max()) + 1]


def _write_turned(folder, orientation: int, *, size=(40, 30)) -> tuple[Image.Image, Image.Image]:
    """Write a picture with a white patch; return it upright and as it is stored."""
    upright = Image.new("RGB", size)
    upright.paste((255, 255, 255), (3, 5, 15, 11))
    method = TO_STORED[orientation]
    stored = upright if method is None else upright.transpose(method)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    folder.mkdir(exist_ok=True)
    stored.save(folder / "a.png", exif=exif)
    return upright, stored


def _open_turned(folder, drawn_on: Image.Image, *, masks: bool):
    left, top, right, bottom = _patch(drawn_on)
    polygon = [left, top, right, top, right, bottom, left, bottom]
    box = {"bbox": [left, top, right - left, bottom - top], "segmentation": [polygon]}
    path = write_coco(folder / "train.json", coco([box], images={"a.png": drawn_on.size}))
    return open_boxes(str(path), split="all", masks=masks)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_and_masks_turn_with_the_picture_if_they_were_drawn_on_stored_pixels(tmp_path, orientation):
    upright, stored = _write_turned(tmp_path / "train", orientation)
    # Orientations 2 to 4 keep the size, so boxes count as drawn on the upright picture.
    drawn_on = stored if orientation in (5, 6, 7, 8) else upright
    table = _open_turned(tmp_path, drawn_on, masks=True)
    objects = table.targets[0]
    assert table.load(0).size == table.size(0) == (40, 30)
    assert objects.boxes.tolist() == [_patch(table.load(0))] == [[3, 5, 15, 11]]
    assert (objects.masks[0].numpy() == (np.asarray(table.load(0))[..., 0] > 128)).all()
    assert fault_counts(table) == ({"unclear turn": 1} if orientation in (2, 3, 4) else {})


@pytest.mark.parametrize("orientation", range(1, 9))
def test_boxes_stay_if_they_were_drawn_on_the_upright_picture(tmp_path, orientation):
    upright, _ = _write_turned(tmp_path / "train", orientation)
    table = _open_turned(tmp_path, upright, masks=False)
    assert table.targets[0].boxes.tolist() == [_patch(table.load(0))]


@pytest.mark.parametrize("orientation", [3, 6])
def test_boxes_of_square_pictures_and_of_undeclared_sizes_stay(tmp_path, orientation):
    upright, _ = _write_turned(tmp_path / "train", orientation, size=(30, 30))
    table = _open_turned(tmp_path, upright, masks=False)
    assert table.targets[0].boxes.tolist() == [_patch(table.load(0))]
    assert fault_files(table, "unclear turn") == [table.name(0)]
    assert harmful_faults(table.faults) == ()
    _write_turned(tmp_path / "JPEGImages", orientation)
    write_voc(tmp_path, "b", [])
    (tmp_path / "Annotations" / "b.xml").rename(tmp_path / "Annotations" / "a.xml")
    (tmp_path / "Annotations" / "a.xml").write_text(f"<annotation>{voc_object('cat', (4, 6, 15, 11))}</annotation>")
    voc = open_boxes(str(tmp_path / "Annotations"), split="all")
    assert voc.targets[0].boxes.tolist() == [_patch(voc.load(0))]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_shares_belong_to_the_upright_picture(tmp_path, orientation):
    write_yolo(tmp_path, {"a": "0 0.225 0.266666667 0.3 0.2\n"})
    _write_turned(tmp_path / "images" / "train", orientation)
    table = open_boxes(str(tmp_path), split="all")
    assert table.targets[0].boxes[0].numpy() == pytest.approx(np.array(_patch(table.load(0))), abs=1e-4)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_turning_boxes_is_turning_pixels(orientation):
    pixels = np.zeros((20, 30), dtype=np.bool_)
    pixels[4:9, 11:13] = True
    turned = turn_pixels(pixels, orientation=orientation)
    box = turn_boxes(np.array([[11.0, 4, 13, 9]]), sizes=np.array([[30, 20]]), orientation=orientation)
    assert box.tolist() == [_patch(Image.fromarray(turned))]


def test_declared_sizes_that_are_neither_are_faults(tmp_path):
    _write_turned(tmp_path / "train", 3)
    path = write_coco(tmp_path / "train.json", coco([{"bbox": [1, 1, 5, 5]}], images={"a.png": (30, 40)}))
    with pytest.raises(InputError, match=r"train\.json: no picture can be used: 1 wrong size \(a\.png\)"):
        open_boxes(str(path), split="all")


@pytest.fixture
def several(tmp_path):
    """Return a COCO folder with four pictures; the second one has no object."""
    images = {f"{name}.png": (40, 30) for name in "abcd"}
    for seed, name in enumerate(images):
        write_picture(tmp_path / "train" / name, seed=seed)
    boxes = [{"bbox": [2, 3, 10, 12], "image_id": number} for number in (3, 0, 2, 0)]
    boxes[3]["bbox"] = [20, 3, 10, 12]
    write_coco(tmp_path / "annotations" / "train.json", coco(boxes, images=images))
    return tmp_path


def test_a_table_gives_objects_by_index(several):
    table = open_boxes(str(several), split="all")
    assert [len(objects.labels) for objects in table.targets] == [2, 0, 1, 1]
    empty = table.targets[1]
    assert (empty.boxes.shape, empty.labels.shape, empty.crowd.shape) == ((0, 4), (0,), (0,))
    assert [str(part.dtype) for part in empty[:3]] == ["torch.float32", "torch.int64", "torch.bool"]
    assert table.targets[-1].boxes.tolist() == [[2, 3, 12, 15]]
    with pytest.raises(IndexError):
        _ = table.targets[4]
    copied = pickle.loads(pickle.dumps(table))  # noqa: S301 - loader workers copy tables like this
    assert copied.targets[0].boxes.tolist() == table.targets[0].boxes.tolist()
    table.targets[0].boxes.zero_()
    assert table.targets[0].boxes.tolist() == [[2, 3, 12, 15], [20, 3, 30, 15]]


def test_tables_serve_the_datasets_of_training_and_evaluation(several):
    def transform(picture, target, **_):
        import torch

        return Sample(torch.from_numpy(np.asarray(picture).copy()).permute(2, 0, 1), target)

    table = open_boxes(str(several), split="all")
    batch = collate_listed([IndexedImages(table, transform=transform)[index] for index in range(4)])
    assert batch.images.shape == (4, 3, 30, 40)
    assert len(batch.targets[0].labels) == 2
    assert len(DrawnImages(table, transform=transform)) == 4


def test_a_part_of_train_is_held_out_and_never_trained_on(several):
    assert box_splits(str(several)) == ("train", "val")
    names = [
        {table.name(index) for index in range(len(table.targets))}
        for table in (open_boxes(str(several), split=split) for split in ("train", "val"))
    ]
    assert [len(part) for part in names] == [3, 1]
    assert not names[0] & names[1]


def test_one_picture_cannot_be_held_out(tmp_path):
    write_picture(tmp_path / "a.png")
    path = write_coco(tmp_path / "boxes.json", coco([{"bbox": [1, 1, 5, 5]}]))
    with pytest.raises(InputError, match="cannot be both trained on and held out"):
        open_boxes(str(path), split="train")


def test_all_splits_are_joined_by_the_names_of_classes(tmp_path):
    for split, categories in (("train", {1: "cat", 2: "dog"}), ("val", {1: "dog", 2: "cow"})):
        write_picture(tmp_path / split / "a.png")
        content = coco([{"bbox": [1, 1, 5, 5], "category_id": 1}], categories=categories)
        write_coco(tmp_path / "annotations" / f"{split}.json", content)
    table = open_boxes(str(tmp_path), split="all")
    assert table.labels == ("cat", "dog", "cow")
    assert [objects.labels.tolist() for objects in table.targets] == [[0], [1]]


def test_a_picture_in_two_splits_comes_once(tmp_path):
    path = write_yolo(tmp_path, {"a": "0 0.5 0.5 0.5 0.5\n", "b": "1 0.5 0.5 0.5 0.5\n"})
    path.write_text("names: [cat, dog]\ntrain: images/train\nval: [images/train]\n")
    table = open_boxes(str(tmp_path), split="all")
    assert [objects.labels.tolist() for objects in table.targets] == [[0], [1]]
    assert [path[-5:] for path in fault_files(table, "in two splits")] == ["a.png", "b.png"]


def test_faults_are_told_or_refused(several, caplog):
    (several / "train" / "d.png").unlink()
    (several / "train" / "c.png").write_bytes(b"")
    table = open_boxes(str(several), split="all")
    (record,) = caplog.records
    assert "1 broken picture (c.png); 1 missing picture (d.png)" in record.message
    assert len(table.targets) == 2
    with pytest.raises(InputError, match=r"broken picture.*on_box_fault=drop, the picture is left out"):
        open_boxes(str(several), split="all", on_box_fault="raise")


@pytest.mark.parametrize(
    ("source", "options", "said"),
    [
        ("nowhere", {}, "nowhere: no such file or folder; accepted are 'digit_scenes'"),
        (".", {"split": "dev"}, "split='dev': choose from"),
        (".", {"on_box_fault": "clip"}, "on_box_fault='clip': choose from"),
        ("digit_scenes:many", {}, "digit_scenes:many: needs a number of pictures"),
        ("digit_scenes:0", {}, "digit_scenes:0: needs a number of pictures"),
    ],
)
def test_mistakes_are_named(tmp_path, monkeypatch, source, options, said):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError) as caught:
        open_boxes(source, **{"split": "train", **options})
    assert said in str(caught.value)


def test_a_folder_and_a_file_without_boxes_are_refused(tmp_path):
    path = write_picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="holds no files with boxes"):
        open_boxes(str(tmp_path), split="train")
    with pytest.raises(InputError, match="is no file with boxes"):
        open_boxes(str(path), split="train")


def test_five_thousand_boxes_in_one_picture_are_fast(tmp_path):
    rng = np.random.default_rng(0)
    write_picture(tmp_path / "train" / "a.png", size=(640, 480))
    corners = rng.uniform(0, (600, 440), (5000, 2)).round(2)
    boxes = [{"bbox": [*corner, 30.5, 20.25]} for corner in corners.tolist()]
    path = write_coco(tmp_path / "train.json", coco(boxes, images={"a.png": (640, 480)}))
    start = time.process_time()
    table = open_boxes(str(path), split="all")
    for _ in range(100):
        objects = table.targets[0]
    # It takes 0.1 s. Comparing all pairs of boxes would take several seconds.
    assert time.process_time() - start < 1
    assert len(objects.labels) + len(fault_files(table, "duplicate")) == 5000


def test_overlaps_are_those_of_all_pairs():
    rng = np.random.default_rng(0)
    corners = rng.uniform(0, 20, (400, 2))
    boxes = np.concatenate([corners, corners + rng.uniform(10, 30, (400, 2))], axis=1)
    groups = rng.integers(0, 3, 400)
    iou = np.triu(box_iou(boxes, boxes), k=1) * (groups[:, None] == groups[None, :])
    expected = {(int(i), int(j)) for i, j in zip(*np.nonzero(iou > NEAR_DUPLICATE_IOU), strict=True)}
    overlaps = find_overlaps(boxes, groups=groups, smallest_iou=NEAR_DUPLICATE_IOU)
    assert {(overlap.first, overlap.second) for overlap in overlaps} == expected
    assert len(expected) > 20


def test_equal_boxes_are_kept_once(tmp_path):
    write_picture(tmp_path / "train" / "a.png", size=(640, 480))
    boxes = [{"bbox": [5, 5, 30, 20]}] * 1500
    path = write_coco(tmp_path / "train.json", coco(boxes, images={"a.png": (640, 480)}))
    table = open_boxes(str(path), split="all")
    assert len(table.targets[0].labels) == 1
    assert fault_counts(table) == {"duplicate": 1499}


@needs_bccd
def test_bccd_opens_quickly(bccd):
    start = time.process_time()
    open_boxes(str(bccd / "Annotations"), split="all")
    # 364 xml files and the headers of 364 pictures take 0.15 s.
    assert time.process_time() - start < 2


def test_files_that_macos_leaves_are_ignored(tmp_path):
    write_picture(tmp_path / "coco" / "train" / "a.png")
    path = write_coco(tmp_path / "coco" / "annotations" / "instances_train.json", coco([{"bbox": [1, 1, 5, 5]}]))
    voc = write_voc(tmp_path / "voc", "a", [voc_object("cat", (1, 1, 5, 5))])
    write_yolo(tmp_path / "yolo", {"a": "0 0.5 0.5 0.5 0.5"})
    for file in (path, voc, tmp_path / "yolo" / "labels" / "train" / "a.txt", tmp_path / "yolo" / "data.yaml"):
        (file.parent / f"._{file.name}").write_bytes(b"\0\5\26\7")
    for name in ("coco", "voc", "yolo"):
        table = open_boxes(str(tmp_path / name), split="all")
        assert (len(table.targets), fault_counts(table)) == (1, {})


def test_a_source_of_boxes_is_one_address():
    for sources, message in ((["digit_scenes", "digit_scenes:4"], "boxes come from one source"), ([], "is empty")):
        with pytest.raises(InputError, match=message):
            open_box_table(sources, split="train")
