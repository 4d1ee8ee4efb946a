import gzip
import os
import tarfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from parckit.contract import InputError, Preprocessing, parse_labels
from parckit.data import archives, eval_transform, image_loader, open_images
from parckit.data.shards import open_shards

CIFAR = Path(__file__).parents[3] / "shared" / "data" / "cifar10"


@pytest.mark.parametrize("ending", ["tar", "tar.gz"])
def test_samples_come_back_as_written(shard, picture, ending):
    path = shard(f"test-0000.{ending}", [2, 0, 1])
    table = open_shards(str(path.parent), split="test")
    np.testing.assert_array_equal(table.targets, [2, 0, 1])
    assert table.labels == ("0", "1", "2")
    for index in (2, 0, 1):
        np.testing.assert_array_equal(np.asarray(table.load(index)), np.asarray(picture(index)))


def test_classes_file_names_the_classes(shard):
    path = shard("test-0000.tar", [0, 1])
    (path.parent / "classes.txt").write_text("cat\ndog\nowl\n")
    assert open_shards(str(path.parent), split="test").labels == ("cat", "dog", "owl")


def test_without_classes_file_the_classes_come_from_the_split(shard):
    for name, targets in (("train-0000.tar", [0, 4]), ("train-0001.tar", [2, 5]), ("test-0000.tar", [6])):
        folder = str(shard(name, targets).parent)
    # The part of train that is held out is the last shard, whose class 5 is known in both parts.
    highest = {split: open_shards(folder, split=split).labels[-1] for split in ("train", "val", "test", "all")}
    assert highest == {"train": "5", "val": "5", "test": "6", "all": "6"}


def test_files_of_other_endings_and_hidden_ones_are_left_alone(shard):
    extra = {"00000.json": b"{}", "README.txt": b"hello", "._00000.png": b"resource fork", "sub/00000.txt": b""}
    path = shard("test-0000.tar", [0], extra=extra)
    assert len(open_shards(str(path), split="test").targets) == 1


def test_a_key_ends_at_the_first_dot_of_the_file_name(shard):
    images = {"v1.5/k.png": b"", "v1.5/k.cls": b"1", "k.0.PNG": b"", "k.png": b"", "k.CLS": b"2"}
    others = {"LICENSE": b"", "v1.5/LICENSE": b"", "v1.5/.png": b"", ".cls": b""}
    path = shard("test-0000.tar", [0], extra=images | others)
    table = open_shards(str(path), split="test")
    assert table.keys.tolist() == ["00000", "v1.5/k", "k"]
    assert table.targets.tolist() == [0, 1, 2]


@pytest.mark.parametrize(
    ("files", "keys"),
    [
        ({"v1.5.png": b"", "v1.5.cls": b"1"}, ["v1.5"]),
        ({"a.b.c.PNG": b"", "a.b.c.CLS": b"1"}, ["a.b.c"]),
        ({"v.1.png": b"", "v.1.cls": b"0", "v.2.jpg": b"", "v.2.json": b"", "v.2.cls": b"1"}, ["v.1", "v.2"]),
        ({"v.png": b"", "v.cls": b"0", "v.2.png": b"", "v.2.cls": b"1"}, ["v", "v.2"]),
        ({"d.x/v.1.png": b"", "d.x/v.1.cls": b"0"}, ["d.x/v.1"]),
        ({"v.png": b"", "v.depth.png": b"", "v.mask.png": b"", "v.cls": b"0"}, ["v"]),
    ],
)
def test_no_sample_with_dots_in_its_key_is_lost(shard, files, keys):
    table = open_shards(str(shard("test-0.tar", [], extra=files)), split="test")
    assert table.keys.tolist() == keys


def test_files_beside_shards_that_are_no_shards_are_told(shard):
    path = shard("test-0000.tar", [0])
    path.with_name("._test-0000.tar").write_bytes(b"resource fork")
    for name in ("test-0001.tar.zst", "notes"):
        path.with_name(name).touch()
    os.mkfifo(path.with_name("test-0002.tar"))
    table = open_shards(str(path.parent), split="test")
    assert len(table.targets) == 1
    assert {(Path(entry.path).name, entry.cause) for entry in table.left_out} == {
        ("._test-0000.tar", "hidden"),
        ("test-0001.tar.zst", "ending"),
        ("notes", "ending"),
        ("test-0002.tar", "special"),
    }


@pytest.mark.parametrize("text", ["\ufeffcat\ndog\n", "\ufeffcat\r\ndog\r\n"])
def test_a_byte_order_mark_is_no_part_of_a_class(shard, text):
    path = shard("test-0000.tar", [0, 1])
    (path.parent / "classes.txt").write_bytes(text.encode())
    assert open_shards(str(path.parent), split="test").labels == ("cat", "dog")


def test_a_shard_is_unpacked_once_and_again_when_it_changes(shard, cache):
    path = shard("test-0000.tar.gz", [0, 1])
    open_shards(str(path), split="test")
    kept = {copy: copy.stat().st_mtime_ns for copy in cache.iterdir()}
    assert sorted(copy.suffix for copy in kept) == [".npz", ".tar"]
    open_shards(str(path), split="test")
    assert kept == {copy: copy.stat().st_mtime_ns for copy in cache.iterdir()}
    shard("test-0000.tar.gz", [1, 1, 1])
    os.utime(path, ns=(0, 0))
    assert open_shards(str(path), split="test").targets.tolist() == [1, 1, 1]


def test_a_shard_is_read_through_once(shard, picture, monkeypatch):
    path = shard("test-0000.tar", [1, 0])
    open_shards(str(path), split="test")
    monkeypatch.delattr(tarfile, "open")
    table = open_shards(str(path), split="test")
    assert table.targets.tolist() == [1, 0]
    np.testing.assert_array_equal(np.asarray(table.load(1)), np.asarray(picture(1)))
    # The cached index is checked against the present classes.
    (path.parent / "classes.txt").write_text("cat\n")
    with pytest.raises(InputError, match=r"test-0000\.tar:00000\.cls: '1' is not a class index in 0\.\.0"):
        open_shards(str(path), split="test")


@pytest.mark.parametrize("kept", [0, 100, -1])
def test_an_index_that_was_cut_off_is_made_anew(shard, cache, kept):
    path = shard("test-0000.tar", [1, 0])
    open_shards(str(path), split="test")
    (index,) = cache.iterdir()
    whole = index.read_bytes()
    index.write_bytes(whole[:kept])
    assert open_shards(str(path), split="test").targets.tolist() == [1, 0]
    assert len(index.read_bytes()) == len(whole)


def test_plain_shards_need_no_cache(shard, cache):
    cache.parent.mkdir(parents=True)
    cache.touch()
    assert open_shards(str(shard("test-0000.tar", [1, 0])), split="test").targets.tolist() == [1, 0]


def _shards(shard, names):
    paths = [shard(name, [0] * (number + 1)) for number, name in enumerate(names)]
    return paths[0].parent


def _chosen(source, split):
    return [path.name for path in open_shards(str(source), split=split).shards]


def test_the_last_train_shard_is_val_where_none_is_given(shard):
    root = _shards(shard, ["train-0.tar", "train-1.tar", "train-2.tar", "test-0.tar"])
    assert _chosen(root, "train") == ["train-0.tar", "train-1.tar"]
    assert _chosen(root, "val") == ["train-2.tar"]
    assert _chosen(root, "test") == ["test-0.tar"]
    assert len(_chosen(root, "all")) == 4


def test_given_val_shards_are_val_and_serve_as_test(shard):
    root = _shards(shard, ["train-0.tar", "val-0.tar"])
    assert [_chosen(root, split) for split in ("train", "val", "test")] == [
        ["train-0.tar"],
        ["val-0.tar"],
        ["val-0.tar"],
    ]


@pytest.mark.parametrize("pattern", ["train-{0..2}.tar", "train-*.tar", "{train-0,train-1,train-2}.tar"])
def test_patterns_with_braces_and_wildcards(shard, pattern):
    root = _shards(shard, ["train-0.tar", "train-1.tar", "train-2.tar", "test-0.tar"])
    assert _chosen(root / pattern, "val") == ["train-2.tar"]
    assert len(_chosen(root / pattern, "all")) == 3


@pytest.mark.parametrize(
    ("pattern", "split", "message"),
    [
        ("train-{0..5}.tar", "train", r"train-1\.tar: no such shard"),
        ("nothing-*.tar", "train", r"nothing-\*\.tar: no such shard"),
        ("train-{0..1.tar", "train", "no such shard|a brace is not closed"),
        ("train-0.tar", "train", "the only train shard cannot also be held out"),
        ("{train-0,other}.tar", "train", "other.tar: the name does not begin with train-, val- or test-"),
        ("test-0.tar", "train", "has no train split, only test"),
        ("train-{0..99999999999}.tar", "train", "stands for more than 100000 names"),
        ("train-{0..9999999999999999999999}.tar", "train", "stands for more than 100000 names"),
        ("train-{0..9999}{0..9999}.tar", "train", "stands for more than 100000 names"),
        ("train-{99999999999..0..2}.tar", "train", "stands for more than 100000 names"),
        ("{" * 90 + "a,b" + "}" * 90 + ".tar", "train", "a brace is not closed|no such shard"),
    ],
)
def test_shards_that_do_not_serve_are_told(shard, pattern, split, message):
    root = _shards(shard, ["train-0.tar", "test-0.tar", "other.tar"])
    with pytest.raises(InputError, match=message):
        open_shards(str(root / pattern), split=split)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"k.png": b"", "k.cls": b"cat"}, r"test-0\.tar:k\.cls: 'cat' is not a class index"),
        ({"k.png": b"", "k.cls": b"2"}, r"test-0\.tar:k\.cls: '2' is not a class index in 0\.\.1"),
        ({"k.png": b"", "k.cls": b"-1"}, r"test-0\.tar:k\.cls: '-1' is not a class index"),
        ({"k.png": b""}, r"test-0\.tar:k: sample without label, a file k\.cls"),
        ({"k.cls": b"0"}, r"test-0\.tar:k: sample without image"),
        ({"k.1.cls": b"0"}, r"test-0\.tar:k\.1: sample without image"),
        ({"k.1.png": b""}, r"test-0\.tar:k\.1: sample without label, a file k\.1\.cls"),
        ({"k.1.png": b"", "k.cls": b"0"}, r"test-0\.tar:k: sample without image"),
        ({"k.png": b"", "k.cls": b"0", "k.PNG": b""}, r"test-0\.tar:k\.PNG: appears twice"),
        ({"k.png": b"", "k.cls": b"9" * 20}, r"test-0\.tar:k\.cls: '9{20}' is not a class index"),
        ({"k.png": b"", "k.cls": b"4000000000"}, r"test-0\.tar:k\.cls: '4000000000' is not a class index"),
        ({"k.png": b"", "k.cls": b"9" * 5000}, r"test-0\.tar:k\.cls: has 5000 bytes"),
    ],
)
def test_a_faulty_sample_is_told_by_shard_and_key(shard, extra, message):
    path = shard("test-0.tar", [0], extra=extra)
    (path.parent / "classes.txt").write_text("cat\ndog\n")
    with pytest.raises(InputError, match=message):
        open_shards(str(path), split="test")


@pytest.mark.parametrize(
    ("ending", "kept"),
    [("tar", 600), ("tar", 2048), ("tar.gz", 600)],
    ids=["within an image", "between two samples", "packed"],
)
def test_a_cut_shard_is_named_and_leaves_no_copy(shard, cache, ending, kept):
    path = shard(f"test-0.{ending}", [0, 1, 1])
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(InputError, match=rf"test-0\.{ending}: broken shard"):
        open_shards(str(path), split="test")
    assert not cache.exists() or not list(cache.iterdir())


def test_an_empty_shard_is_told(shard):
    with pytest.raises(InputError, match="shard without samples; accepted are pairs"):
        open_shards(str(shard("test-0.tar", [])), split="test")


@pytest.mark.parametrize(("text", "message"), [("\n", "is empty"), ("cat\ncat\n", "class 'cat' appears twice")])
def test_a_faulty_classes_file_is_told(shard, text, message):
    path = shard("test-0.tar", [0])
    (path.parent / "classes.txt").write_text(text)
    with pytest.raises(InputError, match=f"classes.txt: {message}"):
        open_shards(str(path), split="test")


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_named_by_shard_and_key(shard, failure, workers):
    path = shard("test-0.tar", [0], extra={"k7.png": b"spoilt", "k7.cls": b"1"})
    dataset = open_images(str(path), split="test", transform=eval_transform(Preprocessing(size=(4, 4))))
    assert f"{path}:k7: not an image" in failure(image_loader(dataset, batch_size=2, workers=workers))


@pytest.mark.skipif(not CIFAR.is_dir(), reason="../shared/data/cifar10 is not here")
def test_a_real_cifar10_shard():
    table = open_shards(str(CIFAR / "test-0000.tar.gz"), split="test")
    assert table.labels[:3] == ("airplane", "automobile", "bird")
    np.testing.assert_array_equal(np.bincount(table.targets), [500] * 10)
    means = np.mean([np.asarray(table.load(index)).mean(axis=(0, 1)) for index in range(0, 5000, 25)], axis=0) / 255
    # The set's documented mean; 200 images with a spread of about 0.13 between image means: 4 standard errors.
    np.testing.assert_allclose(means, [0.4913, 0.4821, 0.4465], atol=0.04)


def _declaring(size: int, *, kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return the header of a member that declares a size, in the form that allows any number."""
    member = tarfile.TarInfo("k.png")
    member.size, member.type = size, kind
    header = bytearray(member.tobuf(tarfile.GNU_FORMAT))
    header[124:136] = (size & (2**96 - 1)).to_bytes(12, "big") if size < 0 else header[124:136]
    header[124] |= 0x80 if size < 0 else 0
    header[148:156] = b"%06o\0 " % (256 + sum(header[:148]) + sum(header[156:]))
    return bytes(header)


@pytest.mark.parametrize(
    ("header", "length"),
    [
        (_declaring(50 << 30), 0),
        (_declaring(1 << 30), 3 << 30),
        (_declaring(2 << 30, kind=tarfile.GNUTYPE_LONGNAME), 3 << 30),
        (_declaring(2 << 30, kind=tarfile.XHDTYPE), 3 << 30),
        (_declaring(-512), 0),
        (_declaring(-512, kind=tarfile.GNUTYPE_LONGNAME), 0),
    ],
    ids=["more than there is", "gigabytes", "a long name", "attributes", "negative", "a negative name"],
)
def test_a_tar_that_declares_impossible_sizes_is_refused_at_once(tmp_path, header, length):
    path = tmp_path / "test-0.tar"
    with path.open("wb") as file:
        file.write(header + bytes(1024))
        file.truncate(max(length, 1536))  # a hole: takes no space on the disk
    tracemalloc.start()
    with pytest.raises(InputError, match=r"test-0\.tar: broken shard"):
        open_shards(str(path), split="test")
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert most < 10 << 20


def test_a_gzip_bomb_is_refused_and_leaves_nothing(tmp_path, cache, monkeypatch):
    monkeypatch.setattr(archives, "_UNPACKED", 8 << 20)
    (tmp_path / "test-0.tar.gz").write_bytes(gzip.compress(bytes(32 << 20)))
    with pytest.raises(InputError, match=r"test-0\.tar\.gz: broken shard \(unpacks to more than"):
        open_shards(str(tmp_path), split="test")
    assert not list(cache.glob("*"))


@pytest.mark.parametrize("files", [{}, {"k.png": b""}, {"notes.txt": b""}])
def test_a_packed_shard_that_cannot_be_used_leaves_no_copy(shard, cache, files):
    with pytest.raises(InputError, match="test-0"):
        open_shards(str(shard("test-0.tar.gz", [], extra=files)), split="test")
    assert not list(cache.glob("*.tar"))


def test_reading_many_class_names_takes_no_quadratic_time():
    names = [f"c{number}" for number in range(200_000)]
    assert len(parse_labels("\n".join(names), name="classes.txt")) == len(names)
