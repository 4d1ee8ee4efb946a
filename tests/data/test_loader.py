import logging

import pytest
import torch

from parckit.contract import Preprocessing
from parckit.data import Augment, collate, eval_transform, image_loader, open_images, train_transform

# Python 3.12 and later warn of any fork in a process with threads; torch's loader forks on Linux before 3.14.
pytestmark = pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")

PREPROCESSING = Preprocessing(size=(6, 4))
TRANSFORM = eval_transform(PREPROCESSING)


@pytest.fixture
def spoilt(image_folder):
    root = image_folder({"test/cat": 4, "test/dog": 3})
    (root / "test" / "cat" / "001.png").write_bytes(b"spoilt")
    return root


def test_collate_counts_what_it_drops():
    batch = collate([(torch.ones(3, 2, 2), 1), None, (torch.zeros(3, 2, 2), 0), None])
    assert batch.images.shape == (2, 3, 2, 2)
    assert batch.targets.tolist() == [1, 0]
    assert batch.skipped == 2


def test_a_batch_of_broken_images_is_empty():
    batch = collate([None, None])
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


def _order(dataset, *, seed, epochs=2):
    loader = image_loader(dataset, batch_size=50, shuffle=True, seed=seed)
    return [[batch.targets.tolist() for batch in loader] for _ in range(epochs)]


def test_the_seed_fixes_the_order_and_every_epoch_has_its_own():
    dataset = open_images("digits", split="val", transform=TRANSFORM)
    first, second = _order(dataset, seed=1)
    assert [first, second] == _order(dataset, seed=1)
    assert first != second
    assert first != _order(dataset, seed=2)[0]


def test_the_seed_fixes_the_augmentation_in_workers(image_folder):
    transform = train_transform(PREPROCESSING, augment=Augment(crop="pad"))
    dataset = open_images(str(image_folder({"test/cat": 8})), split="test", transform=transform)
    runs = [next(iter(image_loader(dataset, batch_size=8, workers=1, seed=seed))).images for seed in (3, 3, 4)]
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_a_short_last_batch_can_be_dropped():
    dataset = open_images("digits", split="val", transform=TRANSFORM)
    assert {len(batch.images) for batch in image_loader(dataset, batch_size=50, drop_last=True)} == {50}
