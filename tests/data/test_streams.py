import random
import sys
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torchvision.transforms import v2
from webdataset.gopen import gopen

from parckit.contract import InputError, Preprocessing
from parckit.data import Batch, StreamedImages, eval_transform, image_loader, open_images, stream_loader
from serving import serving

pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

TRANSFORM = eval_transform(Preprocessing(size=(8, 10)))


@pytest.fixture
def url(tmp_path):
    with serving(tmp_path / "shards") as address:
        yield address


@pytest.fixture
def shards(shard):
    """Three train shards of 4, one test shard of 3."""
    for number, ending in enumerate(["tar", "tar.gz", "tar"]):
        shard(f"train-{number}.{ending}", [0, 1, 0, 1])
    path = shard("test-0.tar", [1, 0, 1])
    (path.parent / "classes.txt").write_text("cat\ndog\n")
    return path.parent


def _targets(dataset, **options):
    loader = image_loader(dataset, batch_size=2, **options)
    return [target for batch in loader for target in batch.targets.tolist()]


def test_a_stream_gives_what_was_written(shards, url, picture):
    dataset = open_images(f"{url}/{{train-0,test-0}}.tar", split="test", transform=TRANSFORM)
    assert isinstance(dataset, StreamedImages)
    assert dataset.labels == ("cat", "dog")
    assert dataset.served == "test"
    samples = list(dataset)
    assert [target for _, target in samples] == [1, 0, 1]
    for index, (image, _) in enumerate(samples):
        assert torch.equal(image, TRANSFORM(picture(index)))


@pytest.mark.parametrize("workers", [0, 2])
def test_every_sample_comes_once_whatever_the_workers(shards, url, workers):
    source = f"{url}/{{train-0.tar,train-1.tar.gz,train-2.tar}}"
    train = open_images(source, split="train", transform=TRANSFORM)
    assert sorted(_targets(train, workers=workers)) == [0] * 4 + [1] * 4
    val = open_images(source, split="val", transform=TRANSFORM)
    assert _targets(val, workers=workers) == [0, 1, 0, 1]


@pytest.mark.parametrize("workers", [0, 2])
def test_order_and_augmentation_follow_from_seed_and_epoch(shard, url, workers):
    for number in range(2):
        folder = shard(f"train-{number}.tar", list(range(20 * number, 20 * number + 20))).parent
    (folder / "classes.txt").write_text("\n".join(f"c{i}" for i in range(40)))
    noise = v2.Lambda(lambda image: TRANSFORM(image) + torch.rand(1) + np.random.rand() + random.uniform(0, 1))  # noqa: NPY002, S311
    dataset = open_images(f"{url}/train-{{0,1}}.tar", split="all", transform=noise)

    def epochs(count: int, **options: int) -> list[Batch]:
        loader = stream_loader(dataset, batch_size=2, workers=workers, **options)
        return [batch for _ in range(count) for batch in loader]

    def same(first: Sequence[Batch], second: Sequence[Batch]) -> bool:
        return all(torch.equal(one.images, other.images) for one, other in zip(first, second, strict=True))

    three = epochs(3, seed=1)
    for begin in (0, 20, 40):
        order = [target for batch in three[begin : begin + 20] for target in batch.targets.tolist()]
        assert sorted(order) == list(range(40)) != order
    torch.rand(1)
    assert same(epochs(1, seed=1, epoch=2), three[40:])
    assert not same(three[20:40], three[40:])
    assert not same(epochs(1, seed=2), three[:20])


def test_a_broken_image_is_named_or_skipped(shard, url):
    path = shard("test-0.tar", [0], extra={"k7.png": b"spoilt", "k7.cls": b"0"})
    (path.parent / "classes.txt").write_text("cat\n")
    with pytest.raises(InputError, match=r"/test-0\.tar:k7: not an image.*--data\.on_error skip"):
        list(open_images(f"{url}/test-0.tar", split="test", transform=TRANSFORM))
    dataset = open_images(f"{url}/test-0.tar", split="test", transform=TRANSFORM, on_error="skip")
    (batch,) = image_loader(dataset, batch_size=2)
    assert (len(batch.images), batch.skipped) == (1, 1)


def test_a_missing_shard_is_named(shards, url):
    dataset = open_images(f"{url}/test-9.tar", split="test", transform=TRANSFORM)
    with pytest.raises(InputError, match=r"/test-9\.tar: cannot be fetched .*exit status 22"):
        list(dataset)


@pytest.mark.parametrize("name", ["test-0.tar", "train-1.tar.gz"])
def test_a_cut_shard_is_named_even_when_images_are_skipped(shards, url, name):
    (shards / name).write_bytes((shards / name).read_bytes()[:600])  # within the first image
    dataset = open_images(f"{url}/{name}", split="all", transform=TRANSFORM, on_error="skip")
    with pytest.raises(InputError, match=f"/{name}: broken shard") as caught:
        list(dataset)
    assert "\n" not in str(caught.value)


def test_missing_class_names_are_told(shard, url):
    shard("test-0.tar", [0])
    with pytest.raises(InputError, match=r"/classes\.txt: cannot be fetched .*it names the classes"):
        open_images(f"{url}/test-0.tar", split="test", transform=TRANSFORM)


def test_reading_stops_early_without_complaint(shards, url):
    dataset = open_images(f"{url}/test-0.tar", split="test", transform=TRANSFORM)
    assert next(iter(dataset))[1] == 1


@pytest.mark.parametrize("source", ["ftp://host/test-0.tar", "pipe://cat test-0.tar", "https://host/test-0.zip"])
def test_other_urls_are_refused(source):
    with pytest.raises(InputError, match=r"not a shard's URL; accepted are http, https, s3, gs URLs that end in \.tar"):
        open_images(source, split="test", transform=TRANSFORM)


def test_commands_in_urls_are_forbidden_once_a_stream_is_open(shards, url):
    open_images(f"{url}/test-0.tar", split="test", transform=TRANSFORM)
    with pytest.raises(ValueError, match="cannot open pipe URLs"):
        gopen("pipe:echo hello")


@pytest.mark.skipif(sys.platform == "win32", reason="the stand-in for aws is a shell script")
def test_s3_goes_through_the_aws_program(shards, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "aws"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\n[ "$1 $2 $4" = "s3 cp -" ] && exec cat "{shards}/${{3#s3://bucket/}}"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    assert _targets(open_images("s3://bucket/test-0.tar", split="test", transform=TRANSFORM)) == [1, 0, 1]


def test_a_missing_download_program_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(InputError, match="reading it needs the program 'aws'"):
        open_images("s3://bucket/test-0.tar", split="test", transform=TRANSFORM)
