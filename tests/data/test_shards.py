import os
import tarfile
from pathlib import Path

import numpy as np
import pytest

from parckit.contract import InputError, Preprocessing
from parckit.data import eval_transform, image_loader, open_images
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


def test_without_classes_file_all_splits_have_the_same_classes(shard):
    shard("train-0000.tar", [0, 4])
    path = shard("test-0000.tar", [1])
    assert len(open_shards(str(path.parent), split="test").labels) == 5


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


def test_files_that_macos_puts_beside_shards_are_no_shards(shard):
    path = shard("test-0000.tar", [0])
    path.with_name("._test-0000.tar").write_bytes(b"resource fork")
    assert len(open_shards(str(path.parent), split="test").targets) == 1


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
