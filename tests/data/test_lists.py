import os
from pathlib import Path

import pytest

from parckit.contract import InputError
from parckit.data import open_table
from parckit.data.lists import open_list


@pytest.fixture
def photos(image_folder) -> Path:
    return image_folder({"cat": 4, "dog": 4})


def _write(folder: Path, text: str, *, name: str = "list.csv", encoding: str = "utf-8") -> str:
    (folder / name).write_bytes(text.encode(encoding))
    return str(folder / name)


ROWS = [("cat/000.png", "a"), ("cat/001.png", "a"), ("dog/000.png", "b"), ("dog/001.png", "b")]


@pytest.mark.parametrize(
    ("delimiter", "newline", "encoding"),
    [(",", "\n", "utf-8"), (";", "\r\n", "utf-8-sig"), ("\t", "\n", "utf-8")],
)
def test_a_list_names_paths_and_classes(photos, delimiter, newline, encoding):
    lines = ["id path label".replace(" ", delimiter), *(delimiter.join(("7", *row)) for row in ROWS), ""]
    table = open_list(_write(photos, newline.join(lines), encoding=encoding), split="all")
    assert table.labels == ("a", "b")
    assert [os.path.relpath(table.name(index), photos) for index in range(4)] == [path for path, _ in ROWS]
    assert table.targets.tolist() == [0, 0, 1, 1]
    assert table.load(3).size == (10, 8)


def test_a_column_says_which_split_an_image_belongs_to(photos):
    splits = ["train", "Validation", "train", "test"]
    lines = [f"{split},{label},{path}" for split, (path, label) in zip(splits, ROWS, strict=True)]
    source = _write(photos, "\n".join(["split,label,path", *lines]))
    assert [open_list(source, split=split).targets.tolist() for split in ("train", "val", "test")] == [[0, 1], [0], [1]]


def test_without_splits_a_part_is_held_out_whatever_the_order(photos):
    rows = [f"{folder}/{number:03}.png,{folder}" for folder in ("cat", "dog") for number in range(4)]
    held = []
    for order in (rows, rows[::-1]):
        source = _write(photos, "\n".join(["path,label", *order]))
        train, val = open_list(source, split="train"), open_list(source, split="val")
        assert (len(train.targets), len(val.targets)) == (6, 2)
        held.append({val.name(index) for index in range(2)})
    assert held[0] == held[1]


def test_lists_that_are_called_like_splits_are_joined_by_a_pattern(photos):
    for name, rows in (("train.csv", ROWS[:2]), ("val.csv", ROWS[2:])):
        _write(photos, "\n".join(["path,label", *map(",".join, rows)]), name=name)
    for pattern in ("{train,val}.csv", "*.csv"):
        source = str(photos / pattern)
        assert open_table(source, split="train").targets.tolist() == [0, 0]
        assert open_table(source, split="val").targets.tolist() == [1, 1]


def test_a_text_file_has_a_path_per_line_and_the_folder_is_the_class(photos):
    source = _write(photos, "\ufeffcat/000.png\r\ndog/001.png\r\n\r\n", name="some.txt")
    table = open_table(source, split="all")
    assert (table.labels, table.targets.tolist()) == (("cat", "dog"), [0, 1])


def test_two_dots_are_no_class_and_hide_no_repetition(photos):
    source = _write(photos, "cat/../dog/000.png\n", name="some.txt")
    assert open_table(source, split="all").labels == ("dog",)
    with pytest.raises(InputError, match=r"lists dog/000\.png twice"):
        open_table(_write(photos, "cat/../dog/000.png\ndog/000.png\n", name="some.txt"), split="all")


def test_numbers_are_sorted_as_numbers(photos):
    rows = [f"{path},{label}" for (path, _), label in zip(ROWS, ("10", "9", "2", "10"), strict=True)]
    assert open_list(_write(photos, "\n".join(["path,label", *rows])), split="all").labels == ("2", "9", "10")


def test_the_ending_of_a_listed_file_does_not_matter(photos):
    (photos / "cat" / "000.png").rename(photos / "cat" / "picture")
    table = open_list(_write(photos, "path,label\ncat/picture,a\n"), split="all")
    assert table.load(0).size == (10, 8)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "the first line must name the columns path,label"),
        ("path,class\na.png,a\n", "the first line must name the columns path,label"),
        ("path,label\n", "lists no images"),
        ("path,label\na.png\n", "line 2: has 1 cells; the first line has 2"),
        ("path,label\na.png,a\nb.png,\n", "line 3: path and label must not be empty"),
        ("path,label,split\na.png,a,dev\n", "line 2: unknown split 'dev'; accepted are train"),
        ("path,label\na.png,a\na.png,b\n", "lists a.png twice, as a and as b"),
        ("path,label\na.png,a\na.png,a\n", "lists a.png twice$"),
        ("path,label\na.png,a\nb.png,a\nc.png,b\n", "class 'b' has one image"),
        ("path,label,split\na.png,a,test\n", "has no train split, only test"),
    ],
)
def test_faulty_lists_are_told_in_one_line(photos, text, message):
    with pytest.raises(InputError, match=message) as caught:
        open_list(_write(photos, text), split="train")
    assert "\n" not in str(caught.value)


def test_lists_that_are_no_text_are_refused(photos):
    with pytest.raises(InputError, match=r"list\.csv: cannot be read as a list in UTF-8"):
        open_list(_write(photos, "path,label\nä.png,a\n", encoding="utf-16"), split="all")
    os.mkfifo(photos / "pipe.csv")
    with pytest.raises(InputError, match=r"pipe\.csv: no such list"):
        open_list(str(photos / "pipe.csv"), split="all")


def test_a_listed_pipe_is_no_image(photos):
    os.mkfifo(photos / "pipe.png")
    table = open_list(_write(photos, "path,label\npipe.png,a\n"), split="all")
    for read in (table.load, table.read):
        with pytest.raises(InputError, match=r"pipe\.png: no such image file"):
            read(0)
