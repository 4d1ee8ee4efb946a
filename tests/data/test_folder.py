import os

import numpy as np
import pytest
from torchvision.datasets.folder import make_dataset

from parckit.contract import InputError
from parckit.data.folder import open_folder
from parckit.processing import IMAGE_EXTENSIONS


def _names(table):
    return [os.fsdecode(path) for path in table.paths]


def test_given_splits_are_read_whole(image_folder):
    root = image_folder({f"{split}/{label}": 3 for split in ("train", "val", "test") for label in ("cat", "dog")})
    for split in ("train", "val", "test"):
        table = open_folder(root, split=split)
        assert table.labels == ("cat", "dog")
        np.testing.assert_array_equal(table.targets, [0, 0, 0, 1, 1, 1])
        assert all(name.startswith(str(root / split)) for name in _names(table))
    assert len(open_folder(root, split="all").targets) == 18


@pytest.mark.parametrize("prefix", ["train/", ""])
def test_a_missing_val_is_a_stratified_tenth_of_train(image_folder, prefix):
    root = image_folder({f"{prefix}cat": 20, f"{prefix}dog": 10})
    train, val = open_folder(root, split="train"), open_folder(root, split="val")
    np.testing.assert_array_equal(np.bincount(train.targets), [18, 9])
    np.testing.assert_array_equal(np.bincount(val.targets), [2, 1])
    assert not set(_names(train)) & set(_names(val))
    assert _names(open_folder(root, split="test")) == _names(val)


def test_every_split_has_the_classes_of_its_own_folders(image_folder):
    root = image_folder({"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dog": 0, "test/cat": 1, "test/fox": 1})
    assert {split: open_folder(root, split=split).labels for split in ("train", "val", "test", "all")} == {
        "train": ("cat", "dog"),
        "val": ("cat", "dog"),
        "test": ("cat", "fox"),
        "all": ("cat", "dog", "fox"),
    }
    assert open_folder(root, split="val").targets.tolist() == [0]
    assert open_folder(root, split="all").targets.tolist() == [0, 0, 1, 1, 0, 0, 2]


def test_a_split_that_is_not_asked_for_may_be_faulty(image_folder):
    root = image_folder({"train/cat": 2, "val/cat": 1, "test/.": 2})
    assert open_folder(root, split="train").labels == ("cat",)
    with pytest.raises(InputError, match="test: has no class folders"):
        open_folder(root, split="test")


def test_the_held_out_images_do_not_depend_on_where_the_folder_lies(image_folder):
    first = open_folder(image_folder({"cat": 30}, root="here"), split="val")
    second = open_folder(image_folder({"cat": 30}, root="there/deeper"), split="val")
    assert [name.rpartition("/")[2] for name in _names(first)] == [name.rpartition("/")[2] for name in _names(second)]


def test_hidden_folders_are_no_classes(image_folder):
    assert open_folder(image_folder({"cat": 2, "dog": 2, ".thumbnails": 0}), split="all").labels == ("cat", "dog")


def test_names_outside_ascii_are_found_again(image_folder):
    table = open_folder(image_folder({"Größe": 1}), split="all")
    assert table.load(0).size == (10, 8)


@pytest.mark.parametrize(
    ("counts", "message"),
    [
        ({".": 3}, "has no class folders"),
        ({"train/.": 3}, "has no class folders"),
        ({"cat": 2, "dog": 0}, "dog: class without images; accepted endings are .jpg"),
        ({"cat": 2, "dog": 1}, "class 'dog' has one image, which cannot be both trained on and held out"),
        ({"test/cat": 2}, "has no train split, only test"),
        ({"train/cat": 2, "valid/cat": 2, "val/cat": 2}, "val and valid both mean the split val"),
        ({"train/.": 2, "Testing/cat": 2}, "train: has no class folders"),
        ({"val/cat": 2, "train2017/cat": 2}, "train2017: unknown split beside val; use train, training, val"),
    ],
)
def test_faulty_layouts_are_told_in_one_line(image_folder, counts, message):
    with pytest.raises(InputError, match=message) as caught:
        open_folder(image_folder(counts), split="train")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("names", [("training", "validation", "testing"), ("Train", "valid", "TEST")])
def test_splits_may_be_called_otherwise(image_folder, names):
    root = image_folder({f"{name}/{label}": 3 for name in names for label in ("cat", "dog")})
    for split, name in zip(("train", "val", "test"), names, strict=True):
        assert all(path.startswith(str(root / name)) for path in _names(open_folder(root, split=split)))


def test_a_class_may_be_called_like_a_split(image_folder):
    assert open_folder(image_folder({"invalid": 3, "valid": 3}), split="train").labels == ("invalid", "valid")


def test_other_folders_beside_the_splits_are_left_alone(image_folder):
    assert open_folder(image_folder({"train/cat": 3, "val/cat": 1, "devkit": 1}), split="train").labels == ("cat",)


@pytest.mark.parametrize("name", ["test", "Testing"])
def test_a_test_folder_without_classes_stops_only_those_who_test(image_folder, name):
    root = image_folder({"train/cat": 2, "train/dog": 2, "val/cat": 1, "val/dog": 1, f"{name}/.": 3})
    table = open_folder(root, split="train")
    assert len(table.targets) == 4
    assert [(entry.path, entry.cause) for entry in table.left_out] == [(str(root / name), "split")]
    with pytest.raises(InputError, match=f"{name}: has no class folders"):
        open_folder(root, split="test")


def test_the_order_of_a_clean_folder_is_that_of_torchvision(image_folder):
    """Training order and held-out parts depend on the order of the files, so it must never change."""
    root = image_folder({"b/z": 2, "b": 2, "b/z.1/y": 1, "b/z-": 1, "B": 2, "a/x/y": 2, "a": 1})
    expected = make_dataset(root, {"B": 0, "a": 1, "b": 2}, extensions=IMAGE_EXTENSIONS)
    table = open_folder(root, split="all")
    assert list(zip(_names(table), table.targets.tolist(), strict=True)) == expected


def test_what_lies_beside_classes_and_splits_is_told(image_folder):
    root = image_folder({"train/cat": 2, "train/dog": 2, "train/@eaDir": 1, "train/.": 1, "val/cat": 1, "val/dog": 1})
    (root / "raw").mkdir()
    (root / "__MACOSX").mkdir()
    (root / "README.txt").touch()
    table = open_folder(root, split="train")
    assert {(os.path.relpath(entry.path, root), entry.cause) for entry in table.left_out} == {
        ("train/@eaDir", "hidden"),
        ("train/000.png", "place"),
        ("raw", "place"),
        ("__MACOSX", "hidden"),
    }
