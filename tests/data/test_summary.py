import pytest

from parckit.data import describe_left_out, describe_run, open_table
from parckit.processing import LeftOut


def test_a_run_is_described_in_four_lines(image_folder):
    root = image_folder({"cat": 20, "dog": 10, "cat/.trash": 1, "dog/@eaDir": 2})
    for name in ("a.jfif", "b.jfif", "c.svg"):
        (root / "cat" / name).touch()
    assert describe_run(open_table(str(root), split="train"), open_table(str(root), split="val")) == (
        "2 classes: cat, dog",
        "training: 27 images, train without its held-out part (cat 18, dog 9)",
        "validation: 3 images, the held-out part of train (cat 2, dog 1)",
        "left out: 2 hidden or left by a system (cat/.trash, dog/@eaDir); 3 with endings that are not read"
        " (2 .jfif, 1 .svg)",
    )


def test_many_classes_are_not_all_listed():
    train, val = (open_table("digits", split=split) for split in ("train", "val"))
    classes, training, _, left_out = describe_run(train, val)
    assert classes == "10 classes: 0, 1, 2, 3, 4, 5, ..."
    assert training == "training: 1255 images, train (122 to 128 per class)"
    assert left_out == "left out: nothing"


@pytest.mark.parametrize("name", ["a\nb", "a\x1b[31m", "a\u2028b", "a\udcff"])
def test_names_are_printed_in_one_line(name):
    described = describe_left_out([LeftOut(f"cat/{name}", "hidden", "")])
    assert described.isprintable()
    assert described.startswith("1 hidden")
