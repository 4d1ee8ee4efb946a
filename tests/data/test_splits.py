import os

import pytest

from parckit.contract import InputError
from parckit.data.splits import held_out, resolve_split


@pytest.mark.parametrize(
    ("present", "train", "val", "test"),
    [
        (("train", "val", "test"), ("train", "whole"), ("val", "whole"), ("test", "whole")),
        (("train", "val"), ("train", "whole"), ("val", "whole"), ("val", "whole")),
        (("train", "test"), ("train", "kept"), ("train", "held_out"), ("test", "whole")),
        (("train",), ("train", "kept"), ("train", "held_out"), ("train", "held_out")),
    ],
)
def test_missing_splits_are_filled_without_testing_on_training_images(present, train, val, test):
    served_by = [resolve_split(split, present=present, source="s") for split in ("train", "val", "test")]
    assert served_by == [train, val, test]


@pytest.mark.parametrize(
    ("present", "served"), [(["train"], "the held-out part of train"), (["train", "val"], "val"), (["test"], None)]
)
def test_what_serves_as_test_is_told(present, served, caplog):
    resolve_split("val", present=present, source="flowers")
    assert not caplog.records
    served_by = str(resolve_split("test", present=present, source="flowers"))
    told = f"flowers: has no test split; {served} serves as test. Split 'all' takes every image"
    assert [record.getMessage() for record in caplog.records] == ([] if served is None else [told])
    assert served_by == (served or "test")


def test_a_source_with_test_alone_evaluates_but_does_not_train():
    assert resolve_split("val", present=["test"], source="s") == ("test", "whole")
    with pytest.raises(InputError, match="s: has no train split, only test"):
        resolve_split("train", present=["test"], source="s")


def test_the_held_out_part_takes_its_share_of_every_class():
    classes = [0] * 40 + [1] * 15 + [2] * 2
    held = held_out([f"n{i}" for i in range(57)], classes=classes, percent=10, salt="s")
    assert [sum(classes[index] == target for index in held) for target in range(3)] == [4, 2, 1]


def test_the_held_out_part_depends_on_names_and_salt_but_not_on_order():
    names = [f"n{i}" for i in range(50)]
    held = held_out(names, classes=[0] * 50, percent=20, salt="s")
    turned = held_out(names[::-1], classes=[0] * 50, percent=20, salt="s")
    assert {names[index] for index in held} == {names[::-1][index] for index in turned}
    assert held != held_out(names, classes=[0] * 50, percent=20, salt="another")


def test_the_held_out_part_stays_what_it_was():
    # Never change these: images that existing checkpoints were trained on would be held out.
    names = [f"cat/ä{i}.png" for i in range(30)]
    assert held_out(names, classes=[0] * 30, percent=10, salt="parckit") == {0, 23, 27}


def test_names_that_are_no_text_are_held_out_too():
    names = [os.fsdecode(b"cat/%c.png" % byte) for byte in range(0xE0, 0xF0)]
    held = held_out(names, classes=[0] * 16, percent=10, salt="s")
    turned = held_out(names[::-1], classes=[0] * 16, percent=10, salt="s")
    assert {names[index] for index in held} == {names[::-1][index] for index in turned}
    assert len(held) == 2


def test_a_lone_sample_cannot_be_held_out():
    with pytest.raises(ValueError, match="class 1 has one sample only"):
        held_out(["a", "b", "c"], classes=[0, 0, 1], percent=10, salt="s")
