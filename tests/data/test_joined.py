import pickle

import numpy as np
import pytest

from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, image_loader, open_images, open_table
from parckit.data.checklist import list_members


@pytest.fixture
def sources(image_folder, shard) -> list[str]:
    first = image_folder({"cat": 3, "owl": 3}, root="first")
    path = shard("train-0.tar", [0, 1, 1])
    shard("val-0.tar", [1, 0])
    (path.parent / "classes.txt").write_text("dog\ncat\n")
    return [str(first), str(path.parent)]


def test_classes_of_the_same_name_are_one_class(sources):
    table = open_table(sources, split="train")
    assert table.labels == ("cat", "dog", "owl")
    assert [table.labels[target] for target in table.targets] == ["cat", "cat", "owl", "owl", "dog", "cat", "cat"]
    assert open_table(sources[::-1], split="train").labels == table.labels


def test_every_source_keeps_its_own_splits(sources):
    parts = [[open_table(source, split=split) for source in sources] for split in ("train", "val")]
    for split, tables in zip(("train", "val"), parts, strict=True):
        joined = open_table(sources, split=split)
        names = [table.name(index) for table in tables for index in range(len(table.targets))]
        assert [joined.name(index) for index in range(len(joined.targets))] == names
        pixels = [np.asarray(table.load(index)) for table in tables for index in range(len(table.targets))]
        assert all(np.array_equal(joined.load(index), expected) for index, expected in enumerate(pixels))
        assert joined.served == " and ".join(table.served for table in tables)


def test_the_same_order_of_classes_stays(image_folder, shard):
    paths = [shard(f"test-{number}.tar", [0, 1]) for number in range(2)]
    (paths[0].parent / "classes.txt").write_text("owl\ncat\n")
    table = open_table([str(path) for path in paths], split="test")
    assert (table.labels, table.targets.tolist()) == (("owl", "cat"), [0, 1, 0, 1])


def test_what_one_source_leaves_out_is_told(sources, image_folder):
    image_folder({"cat/@eaDir": 1}, root="first")
    assert [entry.cause for entry in open_table(sources, split="train").left_out] == ["hidden"]


def test_a_joined_source_can_be_sent_to_workers(sources):
    dataset = open_images(sources, split="train", transform=eval_transform(Preprocessing(size=(4, 4))))
    (batch,) = image_loader(pickle.loads(pickle.dumps(dataset)), batch_size=9)  # noqa: S301
    assert batch.targets.tolist() == [0, 0, 2, 2, 1, 0, 0]


def test_a_folder_that_is_written_in_two_ways_is_one(image_folder):
    folder = image_folder({"cat": 3, "owl": 3})
    with pytest.raises(InputError, match=r"names .* twice"):
        open_table([str(folder), f"{folder}/../{folder.name}/"], split="train")


@pytest.mark.parametrize(("sources", "message"), [([], "is empty"), (["digits", "digits"], "names digits twice")])
def test_sources_that_cannot_be_joined_are_told(sources, message):
    with pytest.raises(InputError, match=message):
        open_table(sources, split="train")


@pytest.mark.parametrize("listed", ["images/cat/000.png", "images/../images/cat/000.png", "link.png"])
def test_a_file_in_two_sources_is_refused_under_whatever_path(listed, image_folder, tmp_path):
    folder = image_folder({"cat": 3, "owl": 3})
    (tmp_path / "link.png").symlink_to(folder / "cat" / "000.png")
    (tmp_path / "val.csv").write_text(f"path,label\n{listed},cat\n")
    both = [str(folder), str(tmp_path / "val.csv")]
    with pytest.raises(InputError, match=rf"{listed} is in both {both[0]} and {both[1]}; keep it in one"):
        open_table(both, split="val")
    assert any("is in both" in refusal for refusal in list_members(both).refusals)


def test_a_shard_in_two_sources_is_refused(shard):
    paths = [shard(name, [0, 1]) for name in ("train-0.tar", "train-1.tar")]
    with pytest.raises(InputError, match=r"train-1\.tar is in both"):
        open_table([str(paths[0].parent), str(paths[1])], split="all")


def test_sources_are_joined_though_one_has_a_split_that_cannot_be_used(image_folder, shard):
    folder = image_folder({"train/cat": 2, "val/cat": 2, "test/.": 1})
    path = shard("train-0.tar", [0])
    shard("val-0.tar", [0])
    assert open_table([str(folder), str(path.parent)], split="train").labels == ("0", "cat")
