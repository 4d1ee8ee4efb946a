"""The data sets that papers use, in the layouts in which they are published."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import Cityscapes

from box_files import write_picture
from mask_files import CAMVID, needs_camvid, paint, quarters, write_cityscapes, write_mask
from parckit.data import open_mask_table
from parckit.data.mask_cityscapes import CITYSCAPES_CLASSES
from parckit.processing import IGNORED

ROAD, CAR = (128, 64, 128), (64, 0, 128)


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
    shares = 100 * table.targets.count_pixels(classes=11, on_error="raise") / (367 * 360 * 480)
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
    assert table.targets.count_pixels(classes=2, on_error="raise").tolist() == [2 * 15 * 20, 2 * (1200 - 300)]


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
