import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps
from torchvision.datasets import Cityscapes

from box_files import coco, write_coco, write_picture
from mask_files import (
    CAMVID,
    needs_camvid,
    paint,
    quarters,
    write_cityscapes,
    write_mask,
    write_pairs,
)
from parckit.contract import InputError
from parckit.data import MaskTable, describe_run, match_classes, open_mask_table
from parckit.data.digit_scenes import make_digit_scenes
from parckit.data.mask_cityscapes import CITYSCAPES_CLASSES
from parckit.processing import IGNORED

ROAD, CAR, VOID = (128, 64, 128), (64, 0, 128), (0, 0, 0)


def stems(table: MaskTable) -> list[str]:
    """Return the names of the pictures without folder and ending."""
    return [Path(table.name(index)).stem for index in range(len(table.targets))]


def kinds(table: MaskTable) -> list[str]:
    """Return the kinds of the faults, in order."""
    return [fault.kind for fault in table.faults]


@pytest.fixture(scope="module")
def camvid(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("camvid")
    shutil.unpack_archive(CAMVID, folder)
    return folder


@needs_camvid
def test_camvid_is_read_as_its_lists_and_files_say(camvid):
    for split, count in (("train", 367), ("val", 101), ("test", 233)):
        table = open_mask_table(str(camvid), split=split)
        lines = [line.split() for line in (camvid / f"{split}.txt").read_text().splitlines()]
        assert [table.name(index) for index in range(count)] == [str(camvid / picture) for picture, _ in lines]
        stored = np.array(Image.open(camvid / lines[3][1]))
        np.testing.assert_array_equal(table.targets[3], np.where(stored == 11, IGNORED, stored))
        assert not table.faults
        assert not table.left_out
    assert (table.labels[0], table.labels[-1], len(table.labels)) == ("Sky", "Bicyclist", 11)


@needs_camvid
def test_the_pixels_of_camvid_are_those_of_its_description(camvid):
    table = open_mask_table(str(camvid), split="train")
    shares = 100 * table.targets.count_pixels(classes=11) / (367 * 360 * 480)
    published = [16.8, 23.3, 0.98, 31.7, 4.5, 9.7, 1.2, 1.1, 5.9, 0.64, 0.29]
    np.testing.assert_allclose(shares, published, rtol=0.03)


def test_camvid_with_colours_is_read_through_its_class_dict(tmp_path):
    for split in ("train", "val", "test"):
        for number in range(2):
            name = f"0001TP_{number:06}"
            write_picture(tmp_path / split / f"{name}.png")
            write_mask(tmp_path / f"{split}_labels" / f"{name}_L.png", paint(quarters(), {0: ROAD, 1: CAR}))
    (tmp_path / "class_dict.csv").write_text("name,r,g,b\nCar,64,0,128\nRoad,128,64,128\nVoid,0,0,0\n")
    table = open_mask_table(str(tmp_path), split="val")
    assert table.labels == ("Car", "Road")
    np.testing.assert_array_equal(table.targets[0], quarters(1, 0))
    assert table.targets.count_pixels(classes=2).tolist() == [2 * 15 * 20, 2 * (1200 - 300)]


def test_ade20k_counts_from_1_and_0_is_ignored(tmp_path):
    root = tmp_path / "ADEChallengeData2016"
    for split, name in (("training", "ADE_train_00000001"), ("validation", "ADE_val_00000001")):
        write_picture(root / "images" / split / f"{name}.jpg")
        write_mask(root / "annotations" / split / f"{name}.png", quarters(150, 0))
    names = ["wall", "building, edifice", "sky", *(f"thing {number}" for number in range(4, 150)), "flag"]
    rows = [f"{number}\t0.1\t10\t1\t{name}" for number, name in enumerate(names, start=1)]
    (root / "objectInfo150.txt").write_text("\n".join(["Idx\tRatio\tTrain\tVal\tName", *rows]) + "\n")
    (root / "sceneCategories.txt").write_text("ADE_train_00000001 airport_terminal\n")
    table = open_mask_table(str(root), split="val")
    assert (len(table.labels), table.labels[1], table.labels[-1]) == (150, "building", "flag")
    np.testing.assert_array_equal(table.targets[0], quarters(149, IGNORED))
    assert not table.faults


@pytest.fixture
def cityscapes(tmp_path: Path) -> Path:
    for split, city in (("train", "aachen"), ("train", "bochum"), ("val", "lindau"), ("test", "berlin")):
        for number in range(2):
            ids = quarters(3 if split == "test" else 7, 33, size=(64, 32))
            ids[-1] = 4  # static
            write_cityscapes(tmp_path, split, city, number, ids)
    return tmp_path


def test_cityscapes_is_read_as_torchvision_reads_it(cityscapes):
    train_ids = {entry.id: entry.train_id for entry in Cityscapes.classes}
    names = [entry.name for entry in sorted(Cityscapes.classes, key=lambda entry: entry.train_id)]
    table = open_mask_table(str(cityscapes), split="train")
    theirs = Cityscapes(str(cityscapes), split="train", target_type="semantic")
    assert list(table.labels) == [name for name in names if name in CITYSCAPES_CLASSES]
    order = {path: index for index, path in enumerate(theirs.images)}
    for index in range(4):
        ids = np.array(theirs[order[table.name(index)]][1])
        np.testing.assert_array_equal(table.targets[index], np.vectorize(train_ids.get)(ids))
    assert open_mask_table(str(cityscapes), split="test").served == "val"


def test_cityscapes_may_have_train_ids_only(cityscapes):
    for path in cityscapes.glob("gtFine/*/*/*_labelIds.png"):
        path.unlink()
        write_mask(path.with_name(path.name.replace("labelIds", "labelTrainIds")), quarters(18, 255, size=(64, 32)))
    table = open_mask_table(str(cityscapes), split="val")
    np.testing.assert_array_equal(table.targets[1], quarters(18, 255, size=(64, 32)))
    assert "labelTrainIds" in table.served


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
    assert table.targets.count_pixels(classes=3).tolist() == [600, 375, 25]


@pytest.mark.parametrize("on_mask_fault", ["drop", "raise"])
def test_coco_without_masks_is_refused(tmp_path, on_mask_fault):
    write_picture(tmp_path / "a.png")
    file = write_coco(tmp_path / "train.json", coco([{"bbox": [5, 5, 5, 5]}]))
    with pytest.raises(InputError, match="mask"):
        open_mask_table(str(file), split="all", on_mask_fault=on_mask_fault)


@pytest.mark.parametrize(
    ("pictures", "masks"),
    [
        ("images/{}/{}.jpg", "masks/{}/{}.png"),
        ("{}/images/{}.jpg", "{}/masks/{}.png"),
        ("img/{}/{}.jpg", "annotations/{}/{}_mask.png"),
        ("{}/imgs/{}.jpg", "{}/labels/{}_label.png"),
        ("{}/{}.jpg", "{}annot/{}.png"),
        ("{}/{}.jpg", "{}/{}_mask.png"),
    ],
)
@pytest.mark.parametrize("val", ["val", "validation"])
def test_plain_folders_are_found(tmp_path, pictures, masks, val):
    for split in ("train", val):
        for number, name in enumerate((f"{split}_a", "b c")):
            write_picture(tmp_path / pictures.format(split, name))
            write_mask(tmp_path / masks.format(split, name), quarters(0, number))
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    table = open_mask_table(str(tmp_path), split="val")
    assert (table.served, stems(table)) == ("val", ["b c", f"{val}_a"])
    assert [int(table.targets[index].max()) for index in range(2)] == [1, 0]
    assert not table.faults
    everything = open_mask_table(str(tmp_path), split="all")
    assert len(everything.targets) == 4


def test_a_part_of_train_is_held_out_where_there_is_no_val(tmp_path):
    write_pairs(tmp_path, {f"{number:02}": quarters() for number in range(20)})
    write_mask(tmp_path / "masks" / "nobody.png", quarters())
    tables = [open_mask_table(str(tmp_path), split=split) for split in ("train", "val")]
    parts = [set(stems(table)) for table in tables]
    assert [len(part) for part in parts] == [18, 2]
    # What belongs to no picture is told once.
    assert [kinds(table) for table in tables] == [["missing picture"], []]
    assert not set.intersection(*parts)


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    write_pairs(tmp_path, {"a": quarters(), "b": quarters()})
    (tmp_path / "images" / "Thumbs.db").write_text("")
    (tmp_path / "masks" / "._a.png").write_text("")
    (tmp_path / "masks" / "notes.txt").write_text("")
    table = open_mask_table(str(tmp_path), split="all")
    assert len(table.targets) == 2
    assert sorted(entry.cause for entry in table.left_out) == ["ending", "hidden", "hidden"]


def test_missing_partners_other_sizes_and_broken_files_are_left_out_and_told(tmp_path, caplog):
    write_pairs(tmp_path, {"a": quarters(), "size": quarters(), "broken": quarters()})
    write_picture(tmp_path / "images" / "alone.jpg")
    write_mask(tmp_path / "masks" / "nobody.png", quarters())
    write_mask(tmp_path / "masks" / "size.png", quarters(size=(40, 31)))
    (tmp_path / "masks" / "broken.png").write_bytes(b"no picture")
    table = open_mask_table(str(tmp_path), split="all")
    assert stems(table) == ["a"]
    assert sorted(kinds(table)) == ["broken mask", "missing mask", "missing picture", "wrong size"]
    assert len(caplog.records) == 1
    assert "1 wrong size (size.png)" in caplog.text
    with pytest.raises(InputError, match=r"alone\.jpg: missing mask"):
        open_mask_table(str(tmp_path), split="all", on_mask_fault="raise")


def test_a_source_without_a_usable_picture_is_refused(tmp_path):
    write_pairs(tmp_path, {"a": quarters()})
    write_mask(tmp_path / "masks" / "a.png", quarters(size=(41, 30)))
    with pytest.raises(InputError, match="no picture can be used: 1 wrong size"):
        open_mask_table(str(tmp_path), split="all")


def test_values_of_no_class_are_ignored_and_told_or_refused(tmp_path, caplog):
    write_pairs(tmp_path, {name: quarters(1, 7) for name in "abcde"} | {"f": quarters(1, IGNORED)})
    table = open_mask_table(str(tmp_path), split="all")
    assert table.targets[0].max() == table.targets[0].max() == IGNORED
    assert len(caplog.records) == 1
    for _ in range(2):
        for index in range(6):
            np.testing.assert_array_equal(table.targets[index], quarters(1, IGNORED))
    # The first three files are told, once each.
    assert len(caplog.records) == 3
    assert "a.png: unknown value: 300 pixels (25.0%) have 1 values of no class, such as 7" in caplog.text
    strict = open_mask_table(str(tmp_path), split="all", on_mask_fault="raise")
    assert strict.targets[5].max() == IGNORED
    with pytest.raises(InputError, match=r"a\.png: unknown value"):
        strict.targets[0]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_masks_turn_with_pictures_whose_exif_tag_turns_them(tmp_path, orientation):
    stored = quarters(size=(40, 30))
    picture = write_picture(tmp_path / "images" / "a.jpg", size=(40, 30), orientation=orientation)
    write_mask(tmp_path / "masks" / "a.png", stored)
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    table = open_mask_table(str(tmp_path), split="all")
    upright = table.load(0)
    assert table.targets[0].shape == (upright.height, upright.width)
    if orientation >= 5:
        # The mask has the size of the stored picture, so it was drawn on that one.
        turned = Image.fromarray(stored)
        turned.getexif()[274] = orientation
        turned.save(tmp_path / "turned.png", exif=turned.getexif())
        with Image.open(tmp_path / "turned.png") as image:
            np.testing.assert_array_equal(table.targets[0], np.array(ImageOps.exif_transpose(image)))
    else:
        # Nobody can tell, and tools for drawing show pictures upright.
        np.testing.assert_array_equal(table.targets[0], stored)
        assert kinds(table) == ([] if orientation == 1 else ["unclear turn"])
    assert picture.is_file()


def test_a_mask_drawn_on_the_upright_picture_stays(tmp_path):
    write_picture(tmp_path / "images" / "a.jpg", size=(40, 30), orientation=6)
    write_mask(tmp_path / "masks" / "a.png", quarters(size=(30, 40)))
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    table = open_mask_table(str(tmp_path), split="all")
    np.testing.assert_array_equal(table.targets[0], quarters(size=(30, 40)))
    assert not table.faults


def test_black_and_white_masks_of_two_classes_mean_the_second_by_255(tmp_path):
    write_pairs(tmp_path, {"a": quarters(0, 255), "b": quarters(0, 0)}, classes="background\ncell\n")
    table = open_mask_table(str(tmp_path), split="all")
    np.testing.assert_array_equal(table.targets[0], quarters())
    assert table.served == "all, where 255 is cell"
    for other in (1, 200):
        write_mask(tmp_path / "masks" / "b.png", quarters(0, other))
        assert open_mask_table(str(tmp_path), split="all").targets[0].max() == IGNORED


def test_void_of_a_table_of_two_classes_stays_void(tmp_path):
    write_pairs(tmp_path, {"a": quarters(0, 2), "b": quarters(0, 0)}, classes="road\ncar\nvoid\n")
    np.testing.assert_array_equal(open_mask_table(str(tmp_path), split="all").targets[0], quarters(0, IGNORED))


@pytest.mark.parametrize("side", [1, 3])
def test_tiny_pictures_are_read(tmp_path, side):
    write_pairs(tmp_path, {"a": quarters(size=(side, side)), "b": quarters(size=(side, 1))})
    table = open_mask_table(str(tmp_path), split="all")
    assert [table.targets[index].shape for index in range(2)] == [(side, side), (1, side)]


def test_digit_scenes_have_the_ink_of_their_digits():
    table = open_mask_table("digit_scenes:4", split="train")
    assert table.labels == ("background", *"0123456789")
    scene = make_digit_scenes(split="train", count=4).scene(2)
    classes = table.targets[2]
    for label, mask in zip(scene.labels, scene.masks, strict=True):
        assert (classes[mask] == label + 1).all()
    assert (classes[~scene.masks.any(0)] == 0).all()
    counts = table.targets.count_pixels(classes=11)
    assert counts.sum() == 4 * 160 * 160
    np.testing.assert_array_equal(counts, sum(np.bincount(table.targets[i].ravel(), minlength=11) for i in range(4)))


def test_a_run_says_which_classes_and_how_many_pictures_there_are(tmp_path):
    write_pairs(tmp_path, {f"{number:02}": quarters() for number in range(20)})
    tables = [open_mask_table(str(tmp_path), split=split) for split in ("train", "val")]
    assert describe_run(*tables)[:3] == (
        "2 classes: road, car",
        "training: 18 images, train without its held-out part",
        "validation: 2 images, the held-out part of train",
    )


def test_classes_are_matched_by_name_and_unknown_ones_are_ignored(tmp_path, caplog):
    write_pairs(tmp_path, {"a": quarters(0, 1), "b": quarters(2, 1)}, classes="road\ncar\nmoose\n")
    matched = match_classes(open_mask_table(str(tmp_path), split="all"), ("sky", "car", "road"), source="streets")
    np.testing.assert_array_equal(matched.targets[0], quarters(2, 1))
    np.testing.assert_array_equal(matched.targets[1], quarters(IGNORED, 1))
    assert matched.targets.count_pixels(classes=3).tolist() == [0, 600, 900]
    assert "does not know moose; their pixels are ignored" in caplog.text


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda root: None, "no such file or folder"),
        (lambda root: root.mkdir(), "holds no masks"),
        (lambda root: (root / "images").mkdir(parents=True), "holds no masks"),
        (lambda root: (write_pairs(root, {"a": quarters()}) / "classes.txt").unlink(), r"write .*classes\.txt"),
        (lambda root: write_pairs(root, {"a": quarters()}, classes="road\nroad\n"), "has the class road twice"),
        (write_picture, "is no file with masks"),
    ],
)
def test_other_sources_are_refused_in_one_line(tmp_path, make, message):
    root = tmp_path / "source.png"
    make(root)
    with pytest.raises(InputError, match=message) as caught:
        open_mask_table(str(root), split="train")
    assert "\n" not in str(caught.value)


def test_a_yolo_folder_holds_no_masks(tmp_path):
    write_picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match="holds no masks"):
        open_mask_table(str(tmp_path), split="train")


def test_wrong_arguments_are_refused():
    for options in ({"split": "dev"}, {"split": "train", "on_mask_fault": "keep"}):
        with pytest.raises(InputError, match="choose from"):
            open_mask_table("digit_scenes", **options)
    with pytest.raises(InputError, match="masks come from one source"):
        open_mask_table(["digit_scenes", "digit_scenes:4"], split="train")
