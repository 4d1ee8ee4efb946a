import os
from pathlib import Path

import pytest

from parckit.contract import InputError
from parckit.data import open_table
from parckit.data.checking import find_hidden_images
from parckit.data.checklist import list_members


def hidden(source) -> set[tuple[str, str]]:
    return {(finding.path.name, finding.problem) for finding in find_hidden_images(list_members(source))}


def test_a_check_reads_what_training_and_evaluation_read(image_folder):
    root = image_folder({"train/cat": 5, "train/dog": 5, "test/cat": 2, "test/dog": 2, "train/cat/.trash": 1})
    members = list_members(str(root)).members
    for split in ("train", "val", "test"):
        table = open_table(str(root), split=split)
        assert [(str(member.path), member.label) for member in members if member.split == split] == [
            (table.name(index), table.labels[target]) for index, target in enumerate(table.targets)
        ]


def test_every_image_is_read_once_if_one_split_serves_as_another(image_folder):
    assert len(list_members(str(image_folder({"cat": 4, "dog": 4}))).members) == 8


def test_images_that_training_does_not_see_are_told(image_folder, picture):
    root = image_folder({"cat": 2, "dog": 2})
    for name in ("cat/a.jfif", "cat/b", "dog/c.tga"):
        picture(7).save(root / name, "JPEG" if name != "dog/c.tga" else "TGA")
    (root / "cat" / "notes.txt").write_text("no picture")
    (root / "dog" / "up").symlink_to("..")
    os.mkfifo(root / "dog" / "pipe.png")
    assert hidden(str(root)) == {
        ("a.jfif", "wrong ending"),
        ("b", "wrong ending"),
        ("up", "left out"),
        ("pipe.png", "left out"),
    }


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({"train/cat": 2, "train/dog": 2, "test/.": 2}, "test: has no class folders"),
        ({"cat": 2, "dog": 0}, "dog: class without images"),
        ({"cat": 2, "dog": 1}, "class 'dog' has one image"),
        ({"cat": 2}, "has only the class 'cat'"),
        ({"train/cat": 2, "train/dog": 2, "train2/cat": 1}, "train2: unknown split"),
    ],
)
def test_what_stops_a_training_or_an_evaluation_is_found(image_folder, counts, said):
    checklist = list_members(str(image_folder(counts)))
    assert any(said in refusal for refusal in checklist.refusals)
    assert checklist.members


def test_all_files_of_a_folder_without_classes_are_read(image_folder):
    checklist = list_members(str(image_folder({".": 3})))
    assert (len(checklist.members), checklist.refusals) == (3, {})


def test_images_in_shards_and_lists_are_read(shard, image_folder):
    path = shard("test-0.tar", [0, 1])
    root = image_folder({"cat": 2})
    (root / "list.csv").write_text("path,label,split\ncat/000.png,a,train\ncat/001.png,b,train\n")
    (in_shard, _) = list_members(str(path)).members
    assert (str(in_shard.path), in_shard.label, in_shard.read()[:4]) == (f"{path}:00000", "0", b"\x89PNG")
    both = [str(root / "list.csv"), str(path)]
    with pytest.raises(InputError, match="class 'a' has one image"):
        list_members(both[0])
    assert len(list_members(both).members) == 2


@pytest.mark.parametrize("source", ["nowhere", "digits"])
def test_what_cannot_be_checked_is_named(source):
    with pytest.raises(InputError, match=r"no such folder|digits: .* nothing to check"):
        list_members(source)


def test_an_empty_folder_is_named(tmp_path: Path):
    with pytest.raises(InputError, match="holds no files"):
        list_members(str(tmp_path))
