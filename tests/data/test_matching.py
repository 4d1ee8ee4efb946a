"""Classes of a source and of a network, joined by name."""

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from box_files import coco, write_coco, write_picture
from parckit.contract import InputError, read_class_names
from parckit.data import match_classes, name_numbers, open_boxes, order_classes

ANIMALS = {1: "cat", 2: "dog", 3: "owl"}


def table(labels, targets):
    """Return a table whose pictures are the words "picture 0", "picture 1" and so on."""
    return SimpleNamespace(
        labels=tuple(labels), served="test", targets=np.array(targets), load=lambda index: f"picture {index}"
    )


def test_equal_classes_leave_the_table_as_it_is():
    same = table(("cat", "dog"), [0, 1])
    assert match_classes(same, ("cat", "dog"), source="photos") is same


def test_pictures_get_the_networks_indices_by_name(caplog):
    matched = match_classes(
        table(("fox", "dog", "cat", "elk"), [0, 1, 2, 1, 0, 2]), ("cat", "dog", "owl"), source="photos"
    )
    assert matched.labels == ("cat", "dog", "owl")
    assert matched.targets.tolist() == [1, 0, 1, 0]
    assert [matched.load(index) for index in range(4)] == [f"picture {index}" for index in (1, 2, 3, 5)]
    # A class without images, elk, is not worth a word.
    assert [record.getMessage() for record in caplog.records] == [
        "photos, test: the network does not know fox (2); 2 images are left out"
    ]
    assert matched.served == "test, without fox (2)"


def test_a_subset_is_asked_for_and_not_warned_of(caplog):
    caplog.set_level(logging.WARNING)
    matched = match_classes(table(("cat", "dog", "fox"), [0, 1, 2]), ("dog", "cat"), source="photos", only=("dog",))
    assert (matched.labels, matched.targets.tolist(), matched.served) == (("dog", "cat"), [0], "test, only dog")
    assert not caplog.records


def test_objects_of_other_classes_are_left_out_and_nothing_but_them_refused(tmp_path):
    write_picture(tmp_path / "a.png")
    content = coco([{"bbox": [1, 1, 5, 5], "area": 7}, {"bbox": [9, 9, 5, 5], "category_id": 2}], categories=ANIMALS)
    boxes = open_boxes(str(write_coco(tmp_path / "boxes.json", content)), split="all")
    objects = match_classes(boxes, ("owl", "cat"), source="photos").targets[0]
    assert (objects.labels.tolist(), objects.areas.tolist()) == ([1], [7])
    # The source knows owls, but none of its objects is one.
    with pytest.raises(InputError, match="photos: its classes are not the model's"):
        match_classes(boxes, ("owl", "cow"), source="photos")


def test_numbers_get_names_and_names_an_order():
    numbers = table(("0", "1", "2"), [2, 0, 1])
    assert name_numbers(numbers, ("cat", "dog", "owl", "fox"), source="shards").labels == ("cat", "dog", "owl")
    ordered = order_classes(numbers, ("cat", "dog", "owl", "fox"), source="shards")
    assert (ordered.labels, ordered.targets.tolist()) == (("cat", "dog", "owl", "fox"), [2, 0, 1])
    # The numbers themselves can have an order, too.
    assert order_classes(numbers, ("2", "1", "0"), source="shards").targets.tolist() == [0, 2, 1]
    named = order_classes(table(("cat", "dog"), [0, 1]), ("dog", "cat"), source="photos")
    assert (named.labels, named.targets.tolist(), named.load(1)) == (("dog", "cat"), [1, 0], "picture 1")


def test_numbers_need_no_order_and_may_lack_some():
    """Folders are sorted as text, and a split may lack a class."""
    names = tuple(f"name {number}" for number in range(11))
    named = order_classes(table(("0", "10", "2"), [0, 1, 2]), names, source="photos")
    assert [named.labels[target] for target in named.targets] == ["name 0", "name 10", "name 2"]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: match_classes(table(("fox",), [0]), ("cat", "dog"), source="photos"), "photos: its classes are not"),
        (
            lambda: match_classes(table(("cat",), [0]), ("cat", "dog"), source="photos", only=("dog",)),
            "asked for",
        ),
        (lambda: match_classes(table(("cat",), [0]), ("cat",), source="photos", only=()), "asked for"),
        (lambda: name_numbers(table(("0", "1"), [0]), ("cat",), source="s"), "has class number 1, .* only 1"),
        (
            lambda: order_classes(table(("cat", "elk"), [0]), ("cat", "dog"), source="s"),
            "class 'elk' is not among",
        ),
        (lambda: read_class_names("no/such.txt"), "no/such.txt: cannot be read"),
    ],
)
def test_mistakes_are_named(call, named):
    with pytest.raises(InputError, match=named):
        call()


def test_a_list_may_have_a_byte_order_mark(tmp_path):
    (tmp_path / "names.txt").write_bytes(b"\xef\xbb\xbfcat\n\ndog\n")
    assert read_class_names(tmp_path / "names.txt") == ("cat", "dog")
