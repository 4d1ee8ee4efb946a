"""Opening sources of masks: parts of a split, files that do not fit, and what cannot be opened."""

import numpy as np
import pytest
from PIL import Image, ImageOps

from box_files import write_picture
from mask_files import cut_in_half, kinds, quarters, stems, write_mask, write_pairs
from parckit.contract import InputError, Preprocessing
from parckit.data import IndexedImages, describe_run, eval_mask_transform, match_classes, open_mask_table
from parckit.processing import IGNORED


def test_the_held_out_part_is_drawn_from_usable_pictures(tmp_path):
    write_pairs(tmp_path, {f"{number:02}": quarters() for number in range(20)})
    clean = stems(open_mask_table(str(tmp_path), split="val"))
    # Existing checkpoints were trained on all other pictures.
    assert clean == ["14", "19"]
    for name in clean:
        write_mask(tmp_path / "masks" / f"{name}.png", quarters(size=(41, 30)))
    train, val = (open_mask_table(str(tmp_path), split=split) for split in ("train", "val"))
    assert len(val.targets) == 2
    assert not {*stems(val)} & {*clean, *stems(train)}
    assert (kinds(train), kinds(val)) == (["wrong size", "wrong size"], [])
    for path in (tmp_path / "masks").iterdir():
        if path.stem != stems(val)[0]:
            write_mask(path, quarters(size=(41, 30)))
    for split in ("train", "val"):
        with pytest.raises(InputError, match="one picture cannot be both trained on and held out"):
            open_mask_table(str(tmp_path), split=split)


def test_a_part_of_train_is_held_out_where_there_is_no_val(tmp_path):
    write_pairs(tmp_path, {f"{number:02}": quarters() for number in range(20)})
    write_mask(tmp_path / "masks" / "nobody.png", quarters())
    tables = [open_mask_table(str(tmp_path), split=split) for split in ("train", "val")]
    parts = [set(stems(table)) for table in tables]
    assert [len(part) for part in parts] == [18, 2]
    # What belongs to no picture is told once.
    assert [kinds(table) for table in tables] == [["missing picture"], []]
    assert not set.intersection(*parts)


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


def test_masks_without_any_class_stay_and_are_told_or_refused(tmp_path, caplog):
    write_pairs(tmp_path, {"a": quarters(), "b": quarters(IGNORED, IGNORED)}, classes="road\ncar\nsky\n")
    table = open_mask_table(str(tmp_path), split="all")
    assert not caplog.records
    assert [bool((table.targets[index] == IGNORED).all()) for index in range(2)] == [False, True]
    assert "b.png: all void: no pixel has a class" in caplog.text
    strict = open_mask_table(str(tmp_path), split="all", on_mask_fault="raise")
    assert strict.targets[0].max() == 1
    with pytest.raises(InputError, match=r"b\.png: all void: no pixel has a class"):
        strict.targets[1]


@pytest.mark.parametrize("matched", [False, True])
def test_a_broken_mask_stops_the_count_of_pixels_or_is_skipped(tmp_path, matched):
    write_pairs(tmp_path, {"a": quarters(), "b": quarters()}, classes="road\ncar\nsky\n")
    cut_in_half(tmp_path / "masks" / "b.png")
    table = open_mask_table(str(tmp_path), split="all")
    if matched:
        table = match_classes(table, ("road", "car", "dog"), source="streets")
    with pytest.raises(InputError, match=r"b\.png: cannot be read as a mask .*--data\.on_error skip"):
        table.targets.count_pixels(classes=3, on_error="raise")
    assert table.targets.count_pixels(classes=3, on_error="skip").tolist() == [900, 300, 0]


def test_a_fault_that_is_refused_is_not_skipped(tmp_path):
    write_pairs(tmp_path, {"a": quarters(1, 7)})
    table = open_mask_table(str(tmp_path), split="all", on_mask_fault="raise")
    dataset = IndexedImages(table, transform=eval_mask_transform(Preprocessing(size=(32, 32))), on_error="skip")
    with pytest.raises(InputError, match=r"a\.png: unknown value: .*with on_mask_fault=drop"):
        dataset[0]


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


@pytest.mark.parametrize("side", [1, 3])
def test_tiny_pictures_are_read(tmp_path, side):
    write_pairs(tmp_path, {"a": quarters(size=(side, side)), "b": quarters(size=(side, 1))})
    table = open_mask_table(str(tmp_path), split="all")
    assert [table.targets[index].shape for index in range(2)] == [(side, side), (1, side)]


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
    assert matched.targets.count_pixels(classes=3, on_error="raise").tolist() == [0, 600, 900]
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


def test_wrong_arguments_are_refused():
    for options in ({"split": "dev"}, {"split": "train", "on_mask_fault": "keep"}):
        with pytest.raises(InputError, match="choose from"):
            open_mask_table("digit_scenes", **options)
    for sources, message in ((["digit_scenes", "digit_scenes:4"], "masks come from one source"), ([], "is empty")):
        with pytest.raises(InputError, match=message):
            open_mask_table(sources, split="train")
