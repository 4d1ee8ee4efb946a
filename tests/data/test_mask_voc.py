"""Masks of Pascal VOC: lists, SBD's additional masks, palettes and colours."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from torchvision.datasets import VOCSegmentation

from box_files import write_picture
from mask_files import quarters, stems, write_mask, write_voc_lists, write_voc_masks
from parckit.data import open_mask_table
from parckit.data.mask_voc import VOC_CLASSES
from parckit.processing import IGNORED


def color_map_voc() -> np.ndarray:
    """Return VOC's palette as the scripts of the challenge compute it, bit by bit; (256, 3)."""
    palette = np.zeros((256, 3), dtype=np.uint8)
    for number in range(256):
        rest = number
        for bit in range(7, -1, -1):
            for channel in range(3):
                palette[number, channel] |= (rest >> channel & 1) << bit
            rest >>= 3
    return palette


@pytest.fixture
def voc(tmp_path: Path) -> Path:
    root = tmp_path / "VOCdevkit" / "VOC2012"
    for number, name in enumerate(("2007_000032", "2007_000039", "2007_000063")):
        mask = quarters(0, number + 1)
        mask[:, -1] = IGNORED
        write_voc_masks(root, name, mask)
    write_picture(root / "JPEGImages" / "2008_000001.jpg")
    train = "2007_000032\n2007_000063\n"
    write_voc_lists(root, train=train, val="2007_000039\n", trainval=f"{train}2007_000039\n", test="2008_000001\n")
    return tmp_path


@pytest.mark.parametrize("inner", ["", "VOCdevkit", "VOCdevkit/VOC2012"])
def test_voc_is_read_as_torchvision_reads_it(voc, inner):
    for split in ("train", "val"):
        table = open_mask_table(str(voc / inner), split=split)
        theirs = VOCSegmentation(str(voc), year="2012", image_set=split)
        assert [table.name(index) for index in range(len(theirs))] == theirs.images
        for index, (picture, mask) in enumerate(theirs):
            np.testing.assert_array_equal(table.targets[index], np.array(mask))
            np.testing.assert_array_equal(np.array(table.load(index)), np.array(picture))
    assert table.labels == VOC_CLASSES
    assert len(VOC_CLASSES) == 21


def test_masks_of_voc_may_be_saved_as_colours(voc):
    masks = voc / "VOCdevkit" / "VOC2012" / "SegmentationClass"
    expected = np.arange(1200).reshape(30, 40) % 22
    expected[expected == 21] = IGNORED
    stored = Image.fromarray(expected.astype(np.uint8))
    palette = color_map_voc()
    stored.putpalette(palette.ravel().tolist())
    stored.convert("RGB").save(masks / "2007_000032.png")
    # Greys are numbers, but for black, which means background in both.
    write_mask(masks / "2007_000063.png", np.stack([quarters(0, 7)] * 3, axis=-1))
    table = open_mask_table(str(voc), split="train")
    np.testing.assert_array_equal(table.targets[0], expected)
    np.testing.assert_array_equal(table.targets[1], quarters(0, 7))
    # A table of classes without colours, as labelme's masks have it, means the same palette.
    (masks.parent / "classes.txt").write_text("background\nant\nbee\n")
    table = open_mask_table(str(voc), split="train")
    np.testing.assert_array_equal(table.targets[0], np.where(expected < 3, expected, IGNORED))
    assert table.targets.read(0).faults[0].kind == "unknown colour"


def test_the_test_pictures_of_voc_have_no_masks(voc, caplog):
    assert open_mask_table(str(voc), split="test").served == "val"
    assert "no test split" in caplog.text


@pytest.mark.parametrize(
    "lists",
    [
        {"train_aug": "2007_000032\n2007_000063\n2008_000009\n"},
        {"aug": "2008_000009\n"},
        {"trainaug": "\n".join(f"/JPEGImages/{n}.jpg /Seg/{n}.png" for n in ("2007_000032", "2008_000009"))},
    ],
)
def test_the_augmented_set_of_voc_is_preferred(voc, lists):
    root = voc / "VOCdevkit" / "VOC2012"
    write_picture(root / "JPEGImages" / "2008_000009.jpg")
    # The augmented masks are grey files in some copies. A picture of VOC itself has a worse mask there.
    write_mask(root / "SegmentationClassAug" / "2008_000009.png", quarters(0, 4))
    write_mask(root / "SegmentationClassAug" / "2007_000032.png", quarters(0, 9))
    write_voc_lists(root, **lists)
    table = open_mask_table(str(voc), split="train")
    assert stems(table)[0] == "2007_000032"
    assert stems(table)[-1] == "2008_000009"
    assert table.served == f"train, {next(iter(lists))}.txt and SegmentationClassAug"
    assert table.targets[len(table.targets) - 1].max() == 4
    assert 9 not in table.targets[0]
    assert stems(open_mask_table(str(voc), split="val")) == ["2007_000039"]
