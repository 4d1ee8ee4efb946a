"""Folders of pictures and masks: which layouts are found, which files belong together, and what 255 means."""

import numpy as np
import pytest

from box_files import write_picture
from mask_files import kinds, quarters, stems, write_mask, write_pairs
from parckit.contract import InputError
from parckit.data import open_mask_table
from parckit.processing import IGNORED


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


def test_hidden_files_and_other_files_are_left_out(tmp_path):
    write_pairs(tmp_path, {"a": quarters(), "b": quarters()})
    (tmp_path / "images" / "Thumbs.db").write_text("")
    (tmp_path / "masks" / "._a.png").write_text("")
    (tmp_path / "masks" / "notes.txt").write_text("")
    table = open_mask_table(str(tmp_path), split="all")
    assert len(table.targets) == 2
    assert sorted(entry.cause for entry in table.left_out) == ["ending", "hidden", "hidden"]


def test_black_and_white_masks_of_two_classes_mean_the_second_by_255(tmp_path):
    write_pairs(tmp_path, {"a": quarters(0, 255), "b": quarters(0, 0)}, classes="background\ncell\n")
    table = open_mask_table(str(tmp_path), split="all")
    np.testing.assert_array_equal(table.targets[0], quarters())
    assert table.served == "all, where 255 is cell"
    # Greys are no reason to take all white pixels for void; 1 is.
    write_mask(tmp_path / "masks" / "b.png", quarters(0, 200))
    table = open_mask_table(str(tmp_path), split="all")
    np.testing.assert_array_equal(table.targets[0], quarters())
    np.testing.assert_array_equal(table.targets[1], quarters(0, IGNORED))
    write_mask(tmp_path / "masks" / "b.png", quarters(0, 1))
    np.testing.assert_array_equal(open_mask_table(str(tmp_path), split="all").targets[0], quarters(0, IGNORED))


def test_void_of_a_table_of_two_classes_stays_void(tmp_path):
    write_pairs(tmp_path, {"a": quarters(0, 2), "b": quarters(0, 0)}, classes="road\ncar\nvoid\n")
    np.testing.assert_array_equal(open_mask_table(str(tmp_path), split="all").targets[0], quarters(0, IGNORED))


def test_a_yolo_folder_holds_no_masks(tmp_path):
    write_picture(tmp_path / "images" / "a.jpg")
    (tmp_path / "labels").mkdir()
    (tmp_path / "labels" / "a.txt").write_text("0 0.5 0.5 0.1 0.1\n")
    with pytest.raises(InputError, match="holds no masks"):
        open_mask_table(str(tmp_path), split="train")


@pytest.mark.parametrize("white", [0, 17, 39])
def test_a_rare_class_in_white_is_found_in_any_mask(tmp_path, white):
    masks = {f"{number:02}": quarters(0, 255 if number == white else 0, size=(4, 4)) for number in range(40)}
    table = open_mask_table(str(write_pairs(tmp_path, masks, classes="background\ncell\n")), split="all")
    assert table.served == "all, where 255 is cell"
    np.testing.assert_array_equal(table.targets[white], quarters(size=(4, 4)))


@pytest.mark.parametrize("split", ["train", "val"])
def test_255_is_ignored_if_any_mask_of_any_split_has_1(tmp_path, split):
    for part in ("train", "val"):
        for number in range(20):
            write_picture(tmp_path / part / "images" / f"{number:02}.jpg", size=(4, 4))
            write_mask(tmp_path / part / "masks" / f"{number:02}.png", quarters(0, 255, size=(4, 4)))
    write_mask(tmp_path / split / "masks" / "13.png", quarters(0, 1, size=(4, 4)))
    (tmp_path / "classes.txt").write_text("background\ncell\n")
    table = open_mask_table(str(tmp_path), split="train")
    assert table.served == "train, where 255 is ignored, because 1 is cell"
    np.testing.assert_array_equal(table.targets[0], quarters(0, IGNORED, size=(4, 4)))


@pytest.mark.parametrize("second", ["a_label.png", "a.png", "a_mask.bmp"])
def test_two_masks_of_one_picture_are_told_or_refused(tmp_path, second, caplog):
    for name in "ab":
        write_picture(tmp_path / "images" / f"{name}.jpg")
        write_mask(tmp_path / "masks" / f"{name}_mask.png", quarters())
    write_mask(tmp_path / "masks" / second, quarters(1, 0))
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    table = open_mask_table(str(tmp_path), split="all")
    assert (stems(table), kinds(table)) == (["b"], ["two masks"])
    assert "1 two masks (a.jpg)" in caplog.text
    with pytest.raises(InputError, match=r"a\.jpg: two masks: .*with on_mask_fault=drop") as caught:
        open_mask_table(str(tmp_path), split="all", on_mask_fault="raise")
    assert {"a_mask.png", second} <= {*str(caught.value).replace(";", "").split()}
    # A list that names no mask does not help, one that does decides.
    (tmp_path / "train.txt").write_text("a\nb\n")
    assert kinds(open_mask_table(str(tmp_path), split="all")) == ["two masks"]
    (tmp_path / "train.txt").write_text(f"images/a.jpg masks/{second}\nb\n")
    table = open_mask_table(str(tmp_path), split="all")
    assert (stems(table), kinds(table)) == (["a", "b"], [])


def test_two_masks_beside_their_picture_are_told(tmp_path):
    for name in "ab":
        write_picture(tmp_path / f"{name}.jpg")
        write_mask(tmp_path / f"{name}_mask.png", quarters())
    write_mask(tmp_path / "a_mask.bmp", quarters())
    (tmp_path / "classes.txt").write_text("road\ncar\n")
    table = open_mask_table(str(tmp_path), split="all")
    assert (stems(table), kinds(table)) == (["b"], ["two masks"])
