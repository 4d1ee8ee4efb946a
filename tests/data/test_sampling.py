from collections import Counter

import numpy as np
import pytest
from lightning.fabric.utilities.data import _set_sampler_epoch
from torch.utils.data import DataLoader

from golden_fixtures import needs_shared, read_train_facts
from parckit.contract import InputError
from parckit.data import BatchShape, MultiScale, OneSize, Progressive, SeededBatches

SIDES = (160, 192, 256, 288, 320)
SIZE = (32, 48)


def sample(length: int = 103, *, batch_size: int = 10, sizes=None, size=SIZE, epochs=10, **options) -> SeededBatches:
    shape = BatchShape(batch_size, size)
    return SeededBatches(length, batch=shape, sizes=sizes or OneSize(), epochs=epochs, **options)


def images(batches: SeededBatches) -> list[int]:
    return [draw.image for batch in batches for draw in batch]


def test_an_epoch_draws_whole_batches_of_different_images():
    batches = sample()
    assert [len(batch) for batch in batches] == [10] * len(batches) == [10] * 10
    assert len(set(images(batches))) == 100
    assert set(images(batches)) < set(range(103))


def test_every_epoch_knows_its_share_of_the_run():
    batches = sample(epochs=4)
    shares = []
    for number in range(4):
        batches.set_epoch(number)
        shares.append({draw.share for batch in batches for draw in batch})
    assert shares == [{0}, {0.25}, {0.5}, {0.75}]
    # With another number of epochs, augmentations that end before the run does would end at a wrong time.
    with pytest.raises(TypeError, match="epochs"):
        SeededBatches(100, batch=BatchShape(10, SIZE), sizes=OneSize())


def test_order_and_augmentation_follow_from_seed_and_epoch():
    def epoch(number: int, seed: int = 1) -> list[object]:
        batches = sample(seed=seed)
        batches.set_epoch(number)
        return list(batches)

    assert epoch(3) == epoch(3)
    assert epoch(3) != epoch(4)
    assert epoch(3) != epoch(3, seed=2)


def test_an_image_has_its_own_seed_in_every_epoch():
    batches = sample()
    seeds = []
    for number in (0, 1):
        batches.set_epoch(number)
        seeds.append({draw.image: draw.seed for batch in batches for draw in batch})
    both = seeds[0].keys() & seeds[1].keys()
    assert all(seeds[0][image] != seeds[1][image] for image in both)
    # Two of 100 numbers below 2^32 are equal with a probability of one in a million.
    assert len(set(seeds[0].values())) == 100


def test_a_continued_epoch_is_the_rest_of_it():
    batches = sample(sizes=MultiScale(sides=(24, 32), base=32))
    batches.set_epoch(5)
    whole = list(batches)
    assert len(whole) == 7
    batches.resume_at(5, start=3)
    batches.set_epoch(5)  # Lightning calls it once more
    assert list(batches) == whole[3:]
    assert len(batches) == len(whole)  # Lightning counts the skipped batches, too
    batches.set_epoch(6)
    batches.set_epoch(5)
    assert list(batches) == whole


def test_lightning_sets_the_epoch():
    batches = sample()
    loader = DataLoader(range(103), batch_sampler=batches)
    first = list(batches)
    _set_sampler_epoch(loader, 1)
    assert list(batches) != first


def test_what_is_iterated_does_not_change_when_another_epoch_is_chosen():
    batches = sample()
    expected = list(batches)
    iterator = iter(batches)
    batches.set_epoch(1)
    assert list(iterator) == expected


@pytest.mark.parametrize("sizes", [OneSize(), MultiScale(sides=(16, 32, 48), base=32)], ids=str)
def test_processes_share_the_batches_of_one(sizes):
    alone = [*sample(batch_size=4, sizes=sizes, seed=4)]
    first, second = ([*sample(batch_size=2, sizes=sizes, seed=4, process=i, processes=2)] for i in range(2))
    for one, other, both in zip(first, second, alone, strict=True):
        assert len(one) == len(other)
        assert sorted([*one, *other]) == sorted(both)


@needs_shared
@pytest.mark.parametrize("processes", [1, 4, 8])
def test_batches_grow_as_the_official_ones_do(processes):
    scales = MultiScale(sides=SIDES, base=256)
    for height, width, count in read_train_facts()[f"vbs_bs128_gpus{processes}"]:
        assert height == width
        assert scales.images(height, batch_size=128, processes=processes) == count


def test_every_size_is_drawn_equally_often_in_batches_that_do_not_change_in_number():
    batches = sample(20_000, batch_size=128, size=(256, 256), sizes=MultiScale(sides=SIDES, base=256), processes=2)
    counts = []
    for number in range(3):
        batches.set_epoch(number)
        sizes = [{draw.size for draw in batch} for batch in batches]
        assert len(sizes) == len(batches)
        counts.append(Counter(size for (size,) in sizes))
        assert sum(len(batch) for batch in batches) * 2 <= 20_000
    assert counts[0] == counts[1] == counts[2]
    assert set(counts[0]) == {(side, side) for side in SIDES}
    assert max(counts[0].values()) - min(counts[0].values()) <= 1


def test_the_sizes_come_in_another_order_in_every_epoch():
    batches = sample(20_000, batch_size=128, size=(256, 256), sizes=MultiScale(sides=SIDES, base=256))
    orders = []
    for number in range(2):
        batches.set_epoch(number)
        orders.append([batch[0].size for batch in batches])
    assert orders[0] != orders[1]


def test_images_grow_to_their_full_size():
    batches = sample(sizes=Progressive(start=0.5, until=0.5, multiple=8), epochs=8)
    sizes = []
    for number in range(8):
        batches.set_epoch(number)
        ((size, share),) = {(draw.size, draw.share) for batch in batches for draw in batch}
        assert share == number / 8
        sizes.append(size)
    # Scales 4/8, 5/8, 6/8, 7/8, then 1, in multiples of 8 (halves round to even ones).
    assert sizes == [(16, 24), (16, 32), (24, 32), (32, 40)] + [SIZE] * 4


@pytest.mark.parametrize(
    "sizes", [OneSize(), MultiScale(sides=(16, 32), base=32), Progressive(until=0.6), Progressive(until=1.0)], ids=str
)
def test_all_sizes_are_those_that_are_drawn(sizes):
    batches, drawn = sample(sizes=sizes, epochs=7), set()
    for number in range(7):
        batches.set_epoch(number)
        drawn |= {draw.size for batch in batches for draw in batch}
    assert sizes.all_sizes(SIZE, epochs=7) == drawn


def test_a_full_size_needs_no_multiple():
    batches = sample(size=(33, 47), sizes=Progressive(start=1.0))
    assert {draw.size for batch in batches for draw in batch} == {(33, 47)}


def test_repeated_images_share_a_batch_with_seeds_of_their_own():
    batches = sample(103, batch_size=12, repeats=3)
    drawn = list(batches)
    assert [len(batch) for batch in drawn] == [12] * 8
    for batch in drawn:
        assert set(Counter(draw.image for draw in batch).values()) == {3}
    assert len(set(images(batches))) == 32
    assert len({draw.seed for batch in drawn for draw in batch}) == 96
    # Mixup and CutMix pair neighbours.
    pairs = [(a.image, b.image) for batch in drawn for a, b in zip(batch, batch[1:] + batch[:1], strict=True)]
    assert not any(a == b for a, b in pairs)


def test_a_continued_epoch_repeats_as_it_would_have():
    batches = sample(103, batch_size=12, repeats=3)
    whole = list(batches)
    batches.resume_at(0, start=2)
    assert list(batches) == whole[2:]


def test_processes_share_the_repeats_of_an_image():
    alone = sample(batch_size=6, repeats=2, seed=4)
    first, second = (sample(batch_size=3, repeats=2, seed=4, process=i, processes=2) for i in range(2))
    assert images(first) == images(second)
    assert [len(set(images([batch]))) for batch in first] == [3] * len(first)
    for one, other, both in zip(first, second, alone, strict=True):
        assert sorted([*one, *other]) == sorted(both)


def test_every_image_comes_equally_often():
    batches = sample(20, batch_size=7)
    drawn = np.zeros(20)
    for number in range(300):
        batches.set_epoch(number)
        drawn[images(batches)] += 1
    # 14 of 20 images in 300 epochs: 210 each, with a standard deviation of 8.
    assert abs(drawn - 210).max() < 40


CLASSES = np.repeat([0, 1, 3], [90, 10, 3])  # no image is of class 2


@pytest.mark.parametrize("repeats", [1, 2])
def test_balanced_sampling_draws_every_class_equally_often(repeats):
    batches = sample(classes=CLASSES, repeats=repeats, batch_size=1)
    drawn = [draw for batch in batches for draw in batch]
    assert len(drawn) == 103
    counts = Counter(CLASSES[draw.image] for draw in drawn)
    assert set(counts) == {0, 1, 3}
    assert max(counts.values()) - min(counts.values()) < 2 * repeats
    # Within a class, too, images come equally often, and every time with another augmentation.
    for index in (0, 1, 3):
        often = Counter(draw.image for draw in drawn if CLASSES[draw.image] == index)
        every = [often[image] for image in np.flatnonzero(index == CLASSES).tolist()]
        assert max(every) - min(every) < 2 * repeats
    assert len({draw.seed for draw in drawn}) == 103


def test_balanced_sampling_depends_on_seed_and_epoch_alone_and_can_be_continued():
    whole = sample(classes=CLASSES, seed=3)
    whole.set_epoch(2)
    expected = list(whole)
    rest = sample(classes=CLASSES, seed=3)
    rest.resume_at(2, start=6)
    assert list(rest) == expected[6:]
    whole.set_epoch(3)
    assert list(whole) != expected
    first, second = ([*sample(classes=CLASSES, batch_size=5, seed=3, process=i, processes=2)] for i in range(2))
    for one, other, both in zip(first, second, sample(classes=CLASSES, seed=3), strict=True):
        assert sorted([*one, *other]) == sorted(both)


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda: sample(repeats=0), "repeats=0"),
        (lambda: sample(9), "batch_size=10: .* 9 images"),
        (lambda: sample(19, processes=2), "batch_size=10 in each of 2 processes: .* 19 images"),
        (lambda: sample(39, sizes=MultiScale(sides=(16, 32), base=32)), r"sides=\(16, 32\): .* 50 images.* only 39 "),
        (lambda: MultiScale(sides=(), base=256), r"sides=\(\)"),
        (lambda: MultiScale(sides=(0,), base=256), r"sides=\(0,\)"),
        (lambda: Progressive(start=0.0), "start=0.0"),
        (lambda: Progressive(until=1.5), "until=1.5"),
        (lambda: Progressive(multiple=0), "multiple=0"),
    ],
)
def test_mistakes_are_named(make, named):
    with pytest.raises(InputError, match=named):
        make()
