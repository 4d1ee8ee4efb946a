"""Sources whose pictures have several labels."""

from pathlib import Path

import numpy as np
import pytest

from labelled import write_list
from parckit.contract import InputError
from parckit.data import match_classes, open_label_table, open_table, order_classes
from parckit.data.checklist import list_members
from parckit.data.source import OpenTable
from parckit.data.summary import describe_run

NAMES = ("cat", "dog", "owl")
SETS = [("cat", "owl"), (), ("dog",), ("cat", "dog", "owl")]


@pytest.fixture
def photos(image_folder) -> Path:
    return image_folder({"x": 4})


def opened(path: Path, *, split: str = "all", open_table: OpenTable = open_label_table):
    return open_table(str(path), split=split)


def named(table) -> list[tuple[str, ...]]:
    return [tuple(table.labels[i] for i in np.flatnonzero(row)) for row in np.asarray(table.targets)]


@pytest.mark.parametrize("mark", [";", "|", " ; "])
@pytest.mark.parametrize("column", ["labels", "Label"])
def test_a_column_holds_names(photos, mark, column):
    rows = [(f"x/{i:03}.png", mark.join(names)) for i, names in enumerate(SETS)]
    table = opened(write_list(photos / "a.csv", [("path", column), *rows]))
    assert table.labels == NAMES
    assert named(table) == SETS
    assert table.load(3).size == (10, 8)


@pytest.mark.parametrize(("yes", "no"), [("1", "0"), ("1.0", ""), (" 1", "0.0")])
def test_every_class_has_a_column(photos, yes, no):
    rows = [(f"x/{i:03}.png", *(yes if name in names else no for name in NAMES), "") for i, names in enumerate(SETS)]
    assert named(opened(write_list(photos / "a.csv", [("path", *NAMES, ""), *rows]))) == SETS


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("path", "cat", "dog"), ("x/000.png", "1", "maybe")],
            "a.csv, line 2: column 'dog' has 'maybe'; accepted",
        ),
        (
            [("path", "labels"), ("x/000.png", "cat;;dog")],
            "line 2: labels 'cat;;dog': a name is empty, or is",
        ),
        ([("path", "cat", "Cat"), ("x/000.png", "1", "0")], "a.csv: the first line names the column 'cat' twice"),
        ([("path", "labels"), ("x/000.png", "cat;cat")], "a name is empty, or is there twice"),
        ([("path", "labels"), ("x/000.png",)], r"line 2: has 1 cells; the first line has 2"),
        ([("path", "labels"), ("x/000.png", ""), ("x/001.png", "")], r"a.csv, all: no image has a label"),
        ([("path",), ("x/000.png",)], r"the first line must name the columns path,labels \(dog;cat\), or path and a"),
        ([("path", "labels"), ("x/000.png", "a;b"), ("x/000.png", "b;a")], r"lists x/000.png twice$"),
        ([("path", "labels"), ("x/000.png", "a;b"), ("./x/000.png", "")], r"twice, as a, b and as nothing"),
    ],
    ids=str,
)
def test_a_malformed_list_is_refused_in_one_line(photos, rows, message):
    with pytest.raises(InputError, match=message):
        opened(write_list(photos / "a.csv", rows))


def test_a_list_of_labels_is_no_list_of_classes(photos):
    path = write_list(photos / "a.csv", [("path", "labels"), ("x/000.png", "cat;dog")])
    with pytest.raises(InputError, match="several labels an image need task multilabel"):
        opened(path, open_table=open_table)


def test_folders_have_one_label_a_picture(image_folder):
    table = opened(image_folder({"cat": 2, "dog": 1}))
    assert named(table) == [("cat",), ("cat",), ("dog",)]


def test_a_held_out_part_has_every_label_whatever_the_order(image_folder):
    folder = image_folder({"x": 60})
    rng = np.random.default_rng(0)
    # The label "rare" has six pictures, "often" nearly all.
    rows = [(f"x/{i:03}.png", ";".join(["often"] * (rng.random() < 0.9) + ["rare"] * (i % 10 == 0))) for i in range(60)]
    held = []
    for order in (rows, rows[::-1]):
        path = write_list(folder / "a.csv", [("path", "labels"), *order])
        train, val = opened(path, split="train"), opened(path, split="val")
        assert len(train.targets) + len(val.targets) == 60
        assert train.labels == val.labels == ("often", "rare")
        assert np.asarray(val.targets).any(axis=0).all()
        held.append({val.name(index) for index in range(len(val.targets))})
    assert held[0] == held[1]
    assert 5 <= len(held[0]) <= 10


def test_pictures_that_are_all_alone_cannot_be_held_out(photos):
    path = write_list(photos / "a.csv", [("path", "labels"), ("x/000.png", "a"), ("x/001.png", "b")])
    with pytest.raises(InputError, match="too few images to hold out"):
        opened(path, split="val")


def test_labels_are_matched_by_name(photos):
    rows = [(f"x/{i:03}.png", ";".join(names)) for i, names in enumerate(SETS)]
    table = opened(write_list(photos / "a.csv", [("path", "labels"), *rows]))
    matched = match_classes(table, ("owl", "elk", "dog", "cat"), source="a")
    assert [{*names} for names in named(matched)] == [{*names} for names in SETS]
    with pytest.raises(InputError, match=r"^a: the network does not know the label dog \(2\), owl \(2\); it has cat"):
        match_classes(table, ("cat", "elk"), source="a")
    assert order_classes(table, ("owl", "dog", "cat"), source="a").labels == ("owl", "dog", "cat")


def test_sources_are_joined(photos, image_folder):
    first = write_list(photos / "a.csv", [("path", "labels"), ("x/000.png", "dog;owl"), ("x/001.png", "")])
    table = open_label_table([str(first), str(image_folder({"cat": 1, "dog": 1}, root="more"))], split="all")
    assert table.labels == NAMES
    assert named(table) == [("dog", "owl"), (), ("cat",), ("dog",)]


def test_a_summary_counts_labels(photos):
    rows = [(f"x/{i:03}.png", ";".join(names)) for i, names in enumerate(SETS)]
    table = opened(write_list(photos / "a.csv", [("path", "labels"), *rows]))
    assert describe_run(table, table)[1] == "training: 4 images, all (cat 2, dog 2, owl 2; 1 without a label)"


def test_a_check_names_the_labels_of_a_picture(photos):
    rows = [(f"x/{i:03}.png", ";".join(names), "train" if i else "val") for i, names in enumerate([*SETS])]
    path = write_list(photos / "a.csv", [("path", "labels", "split"), *rows])
    checklist = list_members(str(path), open_table=open_label_table)
    assert {member.label for member in checklist.members} == {"cat, owl", "", "dog", "cat, dog, owl"}
