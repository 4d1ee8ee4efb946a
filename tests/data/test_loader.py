import logging

import numpy as np
import pytest
import torch
from PIL import Image

from parckit.contract import Preprocessing
from parckit.data import (
    AugmentSettings,
    Batch,
    BatchShape,
    DrawnImages,
    IndexedImages,
    OneSize,
    Sample,
    SeededBatches,
    collate_classes,
    eval_transform,
    image_loader,
    open_images,
    open_table,
    train_loader,
    train_transform,
)

# Python 3.12 and later warn if a process with threads forks. Before Python 3.14, torch's loader forks on Linux.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

PREPROCESSING = Preprocessing(size=(6, 4))
TRANSFORM = eval_transform(PREPROCESSING)


@pytest.fixture
def spoilt(image_folder):
    root = image_folder({"test/cat": 4, "test/dog": 3})
    (root / "test" / "cat" / "001.png").write_bytes(b"spoilt")
    return root


def test_collate_counts_what_it_drops():
    batch = collate_classes([Sample(torch.ones(3, 2, 2), 1), None, Sample(torch.zeros(3, 2, 2), 0), None])
    assert batch.images.shape == (2, 3, 2, 2)
    assert batch.targets.tolist() == [1, 0]
    assert batch.skipped == 2


def test_a_batch_of_broken_images_is_empty():
    batch = collate_classes([None, None])
    assert batch.images.shape == (0, 3, 0, 0)
    assert (batch.targets.shape, batch.targets.dtype, batch.skipped) == ((0,), torch.int64, 2)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_stops_with_its_path_and_the_way_out(spoilt, failure, workers):
    dataset = open_images(str(spoilt), split="test", transform=TRANSFORM)
    last_line = failure(image_loader(dataset, batch_size=2, workers=workers))
    assert str(spoilt / "test" / "cat" / "001.png") in last_line
    assert "--data.on_error skip" in last_line


@pytest.mark.parametrize("workers", [0, 2])
def test_a_broken_image_is_skipped_and_counted(spoilt, workers):
    dataset = open_images(str(spoilt), split="test", transform=TRANSFORM, on_error="skip")
    batches = list(image_loader(dataset, batch_size=2, workers=workers))
    assert [len(batch.images) for batch in batches] == [1, 2, 2, 1]
    assert [batch.skipped for batch in batches] == [1, 0, 0, 0]
    assert torch.cat([batch.targets for batch in batches]).tolist() == [0, 0, 0, 1, 1, 1]
    assert batches[0].images.dtype == torch.float32


def test_a_skipped_image_is_logged(spoilt, caplog):
    dataset = open_images(str(spoilt), split="test", transform=TRANSFORM, on_error="skip")
    with caplog.at_level(logging.WARNING, logger="parckit"):
        assert dataset[1] is None
    assert str(spoilt / "test" / "cat" / "001.png") in caplog.text


def drawn(source: str, *, workers: int = 0, **options: object) -> list[Batch]:
    table = open_images(source, split="val", transform=TRANSFORM).table
    images = DrawnImages(table, transform=train_transform(PREPROCESSING, augment=AugmentSettings(policy="trivial")))
    batches = SeededBatches(len(images), batch=BatchShape(8, PREPROCESSING.size), sizes=OneSize(), epochs=1, **options)
    return list(train_loader(images, batches=batches, workers=workers))


def assert_equal(first: list[Batch], second: list[Batch]) -> None:
    for one, other in zip(first, second, strict=True):
        assert torch.equal(one.images, other.images)
        assert torch.equal(one.targets, other.targets)


def test_order_and_augmentation_do_not_depend_on_the_workers():
    alone = drawn("digits", seed=3)
    for workers in (1, 2):
        assert_equal(drawn("digits", workers=workers, seed=3), alone)
    assert not torch.equal(drawn("digits", seed=4)[0].images, alone[0].images)


def test_augmentation_does_not_depend_on_what_was_drawn_before():
    alone = drawn("digits", seed=3)
    torch.rand(5)
    assert_equal(drawn("digits", seed=3), alone)


def test_a_drawn_image_is_skipped_and_counted(spoilt):
    table = open_images(str(spoilt), split="test", transform=TRANSFORM).table
    transform = train_transform(PREPROCESSING, augment=AugmentSettings())
    images = DrawnImages(table, transform=transform, on_error="skip")
    batches = SeededBatches(len(images), batch=BatchShape(7, PREPROCESSING.size), sizes=OneSize(), epochs=1)
    (batch,) = train_loader(images, batches=batches)
    assert (len(batch.targets), batch.skipped) == (6, 1)


@pytest.mark.parametrize("processes", [1, 2, 3])
def test_processes_share_the_images_without_repeating_any(processes):
    dataset = open_images("digits", split="val", transform=TRANSFORM)
    parts = [
        torch.cat([batch.targets for batch in image_loader(dataset, batch_size=50, process=i, processes=processes)])
        for i in range(processes)
    ]
    assert [len(part) for part in parts] == [len(range(i, 178, processes)) for i in range(processes)]
    assert torch.cat(parts).bincount().tolist() == np.bincount(dataset.table.targets).tolist()


class NoMemory:
    """A transform of a machine without memory: it fails for every picture of the second class."""

    def __init__(self, error: Exception) -> None:
        self.error = error

    def __call__(self, picture, target, **kwargs):
        if target == 1:
            raise self.error
        return TRANSFORM(picture, target)


@pytest.mark.parametrize(
    "error", [MemoryError(), RuntimeError("can't allocate memory: 9 bytes"), ZeroDivisionError("x")]
)
@pytest.mark.parametrize("training", [False, True])
def test_a_picture_that_cannot_be_transformed_is_named_or_skipped(image_folder, failure, caplog, error, training):
    root = image_folder({"train/cat": 3, "train/dog": 1, "val/cat": 1, "val/dog": 1})
    table = open_table(str(root), split="train")

    def load(on_error):
        if not training:
            return image_loader(IndexedImages(table, transform=NoMemory(error), on_error=on_error), batch_size=4)
        drawn = DrawnImages(table, transform=NoMemory(error), on_error=on_error)
        batches = SeededBatches(4, batch=BatchShape(4, (6, 4)), sizes=OneSize(), epochs=1, seed=0)
        return train_loader(drawn, batches=batches)

    said = failure(load("raise"))
    assert said.startswith(f"{root / 'train' / 'dog' / '000.png'}: cannot be prepared ({type(error).__name__}")
    (batch,) = load("skip")
    assert (batch.targets.tolist(), batch.skipped) == ([0, 0, 0], 1)
    assert "skipped" in caplog.text


def test_a_picture_whose_decoder_has_no_memory_is_named(spoilt, monkeypatch, failure):
    def load(image):
        raise MemoryError

    monkeypatch.setattr(Image.Image, "load", load)
    dataset = open_images(str(spoilt), split="test", transform=TRANSFORM)
    assert "000.png: cannot be read as an image (MemoryError)" in failure(image_loader(dataset, batch_size=2))
