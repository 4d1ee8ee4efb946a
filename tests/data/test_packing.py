import os
import tarfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parckit.contract import InputError
from parckit.data.folder import open_folder
from parckit.data.lists import open_list
from parckit.data.packing import StoredImage, pack, write_shards
from parckit.data.shards import ShardTable, open_shards


def _contents(table: ShardTable) -> list[tuple[int, bytes]]:
    """Return class and encoded bytes of every sample."""
    contents = []
    for target, (shard, offset, size) in zip(table.targets.tolist(), table.where.tolist(), strict=True):
        with table.tars[shard].open("rb") as file:
            file.seek(offset)
            contents.append((target, file.read(size)))
    return contents


def _folder_contents(source: Path, split) -> list[tuple[int, bytes]]:
    table = open_folder(source, split=split)
    return [
        (target, Path(path.decode()).read_bytes())
        for target, path in zip(table.targets.tolist(), table.paths.tolist(), strict=True)
    ]


SPLIT = {"train/cat": 4, "train/dog": 3, "val/cat": 2, "val/dog": 1, "test/cat": 1, "test/dog": 2}
UNDIVIDED = {"cat": 12, "dog": 5}


@pytest.mark.parametrize("counts", [SPLIT, UNDIVIDED], ids=["split", "undivided"])
def test_every_split_of_the_shards_holds_the_images_of_the_folders_byte_for_byte(image_folder, tmp_path, counts):
    source = image_folder(counts)
    pack(str(source), tmp_path / "out", shard_size=2)
    for split in ("train", "val", "test"):
        table = open_shards(str(tmp_path / "out"), split=split)
        assert table.labels == ("cat", "dog")
        assert sorted(_contents(table)) == sorted(_folder_contents(source, split))


def test_a_set_for_testing_alone_stays_one(image_folder, tmp_path):
    counts = pack(str(image_folder({"test/cat": 1, "test/dog": 1})), tmp_path / "out")
    assert counts == {"test": 2}
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["classes.txt", "test-0000.tar"]


def test_lists_are_packed_with_their_splits_and_files_of_any_ending(image_folder, tmp_path):
    folder = image_folder({"cat": 4, "dog": 3})
    (folder / "cat" / "000.png").rename(folder / "cat" / "first.picture")
    rows = ["cat/first.picture,a,train", "cat/001.png,a,train", "dog/000.png,b,train", "dog/001.png,b,train"]
    (folder / "list.csv").write_text("\n".join(["path,label,split", *rows, "dog/002.png,a,test"]))
    source = str(folder / "list.csv")
    assert pack(source, tmp_path / "out") == {"train": 2, "val": 2, "test": 1}
    for split in ("train", "val", "test"):
        table, packed = open_list(source, split=split), open_shards(str(tmp_path / "out"), split=split)
        assert packed.labels == ("a", "b")
        expected = [(target, table.read(index)) for index, target in enumerate(table.targets.tolist())]
        assert sorted(_contents(packed)) == sorted(expected)


@pytest.mark.parametrize(
    ("name", "said"), [("notes", "not an image of a known"), ("pipe.png", "no such image"), ("gone", "no such image")]
)
def test_a_listed_file_that_is_no_image_is_not_packed(name, said, tmp_path):
    (tmp_path / "notes").write_text("no picture")
    os.mkfifo(tmp_path / "pipe.png")
    (tmp_path / "test.csv").write_text(f"path,label\n{name},a\n")
    with pytest.raises(InputError, match=f"{name}: {said}"):
        pack(str(tmp_path / "test.csv"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_shards_of_a_split_are_equally_full(image_folder, tmp_path):
    pack(str(image_folder({"train/a": 11, "val/a": 1})), tmp_path / "out", shard_size=4)
    sizes = []
    for path in sorted((tmp_path / "out").glob("train-*.tar")):
        with tarfile.open(path) as archive:
            sizes.append(len(archive.getnames()) // 2)
    assert sorted(sizes) == [3, 4, 4]


def test_the_seed_alone_decides_the_order(image_folder, tmp_path):
    source = image_folder({"train/a": 9, "train/b": 9, "val/a": 1, "val/b": 1})
    for name, seed in (("one", 0), ("same", 0), ("other", 1)):
        pack(str(source), tmp_path / name, seed=seed)
    one, same, other = ((tmp_path / name / "train-0000.tar").read_bytes() for name in ("one", "same", "other"))
    assert one == same
    assert one != other
    assert open_shards(str(tmp_path / "one"), split="train").targets.tolist() != [0] * 9 + [1] * 9


def test_a_part_of_a_file_can_be_an_image(tmp_path):
    (tmp_path / "many").write_bytes(b"--one--three")
    images = [
        StoredImage(name="1.JPEG", target=0, path=tmp_path / "many", offset=2, size=3),
        StoredImage(name="3.JPEG", target=1, path=tmp_path / "many", offset=7),
    ]
    write_shards({"test": images}, tmp_path / "out", labels=("a", "b"))
    table = open_shards(str(tmp_path / "out"), split="test")
    assert sorted(_contents(table)) == [(0, b"one"), (1, b"three")]


def test_every_image_is_tracked(image_folder, tmp_path):
    seen = []

    def track(items):
        for item in items:
            yield item
            seen.append(item.name)

    pack(str(image_folder({"train/a": 5, "val/a": 2})), tmp_path / "out", shard_size=2, track=track)
    assert len(seen) == 7


def test_nothing_is_left_when_an_image_cannot_be_read(image_folder, tmp_path):
    source = image_folder({"train/a": 3, "val/a": 1})

    def track(items):
        for number, item in enumerate(items):
            if number == 2:
                item.path.unlink()
            yield item

    with pytest.raises(InputError, match="no such image file"):
        pack(str(source), tmp_path / "new" / "out", track=track)
    assert not list((tmp_path / "new").glob("*"))


def test_a_folder_that_holds_something_is_not_replaced(image_folder, tmp_path):
    source, out = image_folder({"train/a": 1, "val/a": 1}), tmp_path / "out"
    out.mkdir()
    pack(str(source), out)
    written = (out / "train-0000.tar").stat().st_mtime_ns
    with pytest.raises(InputError, match=f"{out}: exists already; accepted is an empty or new folder"):
        pack(str(source), out)
    assert (out / "train-0000.tar").stat().st_mtime_ns == written


def test_what_a_killed_process_left_of_the_same_folder_is_told(image_folder, tmp_path, caplog):
    for name in (".a+~123-0a1b2c3d.tmp", ".aa~123-0a1b2c3d.tmp", ".a+~2~123-0a1b2c3d.tmp"):
        (tmp_path / name).mkdir()
    pack(str(image_folder(SPLIT)), tmp_path / "a+")
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == [
        str(tmp_path / ".a+~123-0a1b2c3d.tmp")
    ]


def test_the_working_folder_is_not_replaced(image_folder, tmp_path, monkeypatch):
    source = image_folder(SPLIT)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path / "empty")
    with pytest.raises(InputError, match=r"^\.: is or contains the working folder"):
        pack(str(source), Path())


def test_shards_do_not_go_where_they_would_become_a_class(image_folder):
    source = image_folder({"a": 2})
    with pytest.raises(InputError, match=f"{source / 'shards'}: is inside {source}"):
        pack(str(source), source / "shards")


def test_shards_do_not_replace_their_own_images(image_folder, monkeypatch):
    source = image_folder({"a": 2})
    monkeypatch.chdir(source.parent)
    with pytest.raises(InputError, match=f"^{source.name}: is the folder of the images itself; name another folder"):
        pack(str(source), Path(source.name))
    assert sorted(path.name for path in source.rglob("*")) == ["000.png", "001.png", "a"]


@pytest.mark.parametrize("label", ["two\nlines", " outer blank", "para\u2029graph"])
def test_a_class_that_the_classes_file_could_not_name_is_refused(image_folder, tmp_path, label):
    source = image_folder({f"train/{label}": 1, f"val/{label}": 1, "train/b": 1, "val/b": 1})
    with pytest.raises(InputError, match=r"cannot be written to classes\.txt") as caught:
        pack(str(source), tmp_path / "out")
    assert repr(label) in str(caught.value)


def test_mistakes_are_named(image_folder, tmp_path):
    with pytest.raises(InputError, match="nowhere: no such folder"):
        pack(str(tmp_path / "nowhere"), tmp_path / "out")
    with pytest.raises(InputError, match="shard_size=0: must be at least 1 image"):
        pack(str(image_folder({"train/a": 1, "val/a": 1})), tmp_path / "out", shard_size=0)


def test_pixels_come_back(image_folder, tmp_path, picture):
    pack(str(image_folder({"test/a": 3})), tmp_path / "out")
    table = open_shards(str(tmp_path / "out"), split="test")
    contents = sorted(np.asarray(table.load(index)).tobytes() for index in range(3))
    assert contents == sorted(np.asarray(picture(number)).tobytes() for number in range(3))


def test_a_class_name_that_is_not_utf_8_is_refused_before_anything_is_written(tmp_path):
    (tmp_path / "images" / "\udcff").mkdir(parents=True)
    for number in range(2):
        Image.new("RGB", (8, 8)).save(tmp_path / "images" / "\udcff" / f"{number}.png")
    with pytest.raises(InputError, match=r"class '\\udcff': its name is not UTF-8"):
        pack(str(tmp_path / "images"), tmp_path / "shards")
    assert not (tmp_path / "shards").exists()
