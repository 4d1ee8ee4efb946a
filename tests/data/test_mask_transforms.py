from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from parckit.contract import InputError, Preprocessing
from parckit.data import (
    Batch,
    BatchShape,
    DrawnImages,
    MaskAugmentSettings,
    OneSize,
    PixelClasses,
    SeededBatches,
    collate_listed,
    eval_mask_transform,
    mask_transforms,
    open_mask_table,
    train_loader,
    train_mask_transform,
)
from parckit.data.datasets import seed_generators
from parckit.data.mask_transforms import largest_share
from parckit.processing import IGNORED, Geometry

SIZE = (48, 64)
STRETCH = Preprocessing(size=SIZE, fit="stretch")
STILL = MaskAugmentSettings(scale=(1.0, 1.0), most_of_a_class=1.0, colour=0.0, flip=0.0)


def scene(height: int = 60, width: int = 120, *, block: int = 15) -> tuple[Image.Image, np.ndarray]:
    """Return a picture of grey blocks and their classes: class c has the grey level 20 + 40 * c, in 0..5."""
    rng = np.random.default_rng(0)
    classes = rng.integers(0, 6, (-(-height // block), -(-width // block)), dtype=np.uint8)
    mask = np.ascontiguousarray(np.kron(classes, np.ones((block, block), np.uint8))[:height, :width])
    return Image.fromarray(np.stack([20 + 40 * mask] * 3, axis=2)), mask


def mismatches(image: torch.Tensor, classes: torch.Tensor, *, fill: int = 0) -> float:
    """Return the share of pixels whose grey level is not that of their class, without edges between blocks."""
    levels = (image[0] * 255).round().numpy()
    expected = np.where(classes.numpy() == IGNORED, fill, 20 + 40 * classes.numpy().astype(float))
    # A resized edge has grey levels between those of the two blocks. It is up to 3 pixels wide.
    kernel = torch.nn.functional.max_pool2d
    wide = torch.nn.functional.pad(classes.float()[None, None], (3, 3, 3, 3), mode="replicate")
    is_flat = (kernel(wide, 7, 1) == -kernel(-wide, 7, 1))[0, 0].numpy()
    return float((np.abs(levels - expected) > 8)[is_flat].mean())


PLAIN = {"mean": (0.0, 0.0, 0.0), "std": (1.0, 1.0, 1.0)}


@pytest.mark.parametrize("fit", ["stretch", "contain", "cover"])
@pytest.mark.parametrize("resize", ["fit", "shorter_side"])
@pytest.mark.parametrize("scale", [(0.5, 0.5), (1.0, 1.0), (0.7, 2.0)])
def test_the_mask_moves_with_the_picture(fit, resize, scale):
    picture, mask = scene()
    preprocessing = Preprocessing(size=SIZE, fit=fit, fill=(0, 0, 0), interpolation="bilinear", **PLAIN)
    augment = MaskAugmentSettings(scale=scale, resize=resize, colour=0.0, flip=0.5, flip_vertical=0.5)
    transform = train_mask_transform(preprocessing, augment=augment)
    for seed in range(6):
        seed_generators(seed)
        sample = transform(picture, mask, size=(96, 128), share=0.0)
        assert sample.image.shape == (3, 96, 128)
        assert sample.target.in_input.dtype == torch.uint8
        assert sample.target.in_picture is None
        assert mismatches(sample.image, sample.target.in_input) < 0.01


def test_a_scale_below_1_pads_with_the_fill_and_ignored_pixels():
    picture, mask = scene(48, 64)
    augment = MaskAugmentSettings(scale=(0.5, 0.5), most_of_a_class=1.0, colour=0.0, flip=0.0)
    preprocessing = Preprocessing(size=SIZE, fit="stretch", fill=(255, 0, 0), **PLAIN)
    sample = train_mask_transform(preprocessing, augment=augment)(picture, mask, size=SIZE, share=0.0)
    ignored = sample.target.in_input == IGNORED
    assert ignored.sum() == 48 * 64 - 24 * 32
    assert (sample.image[0][ignored] == 1).all()
    assert (sample.image[1][ignored] == 0).all()


def test_without_padding_a_small_picture_covers_the_input():
    picture, mask = scene(30, 200)
    augment = MaskAugmentSettings(scale=(0.5, 0.5), pad=False, colour=0.0)
    sample = train_mask_transform(STRETCH, augment=augment)(picture, mask, size=SIZE, share=0.0)
    assert not (sample.target.in_input == IGNORED).any()


def test_shorter_sides_of_384_to_768_as_the_authors_of_parcnet_have_them():
    """Golden README, section 9.2: shorter side 384 to 768, crop 512. Class 1 fills half of the width."""
    mask = np.zeros((100, 200), np.uint8)
    mask[:, ::2] = 1
    picture = Image.fromarray(np.stack([mask] * 3, axis=2))
    augment = MaskAugmentSettings(scale=(0.75, 1.5), resize="shorter_side", colour=0.0, flip=0.0)
    transform = train_mask_transform(Preprocessing(size=(512, 512), fit="stretch"), augment=augment)
    heights = []
    for seed in range(20):
        seed_generators(seed)
        classes = transform(picture, mask, size=(512, 512), share=0.0).target.in_input
        rows = (classes != IGNORED).any(1)
        columns = (classes != IGNORED).any(0)
        assert columns.all()
        # A stripe of one pixel becomes as wide as the scale is.
        stripes = int((classes[rows][0].int().diff() != 0).sum())
        heights.append(100 * 512 / stripes)
    assert min(heights) == pytest.approx(384, rel=0.15)
    assert max(heights) == pytest.approx(768, rel=0.15)


def test_the_whole_picture_at_its_own_size_stays_as_it_is():
    picture, mask = scene(*SIZE)
    sample = train_mask_transform(STRETCH, augment=STILL)(picture, mask, size=SIZE, share=0.0)
    reference = eval_mask_transform(STRETCH)(picture, mask)
    torch.testing.assert_close(sample.image, reference.image)
    assert torch.equal(sample.target.in_input, reference.target.in_input)
    assert sample.target.in_input.tolist() == mask.tolist()


def test_crops_full_of_one_class_are_avoided():
    # Four of five pixels are road; class 1 is a strip at the right.
    mask = np.zeros((100, 500), np.uint8)
    mask[:, 400:] = 1
    mask[:10] = IGNORED
    picture = Image.fromarray(np.stack([mask] * 3, axis=2))
    preprocessing = Preprocessing(size=(100, 100), fit="cover")
    shares = {}
    for most in (0.75, 1.0):
        augment = MaskAugmentSettings(scale=(1.0, 1.0), most_of_a_class=most, colour=0.0)
        transform = train_mask_transform(preprocessing, augment=augment)
        fine = 0
        for seed in range(40):
            seed_generators(seed)
            classes = transform(picture, mask, size=(100, 100), share=0.0).target.in_input
            counts = np.bincount(classes.ravel().numpy(), minlength=256)[:IGNORED]
            fine += counts.max() <= 0.8 * counts.sum()
        shares[most] = fine
    assert shares[1.0] < 15
    # The strip's edge lies in 1 of 8 crops, and ten crops are tried.
    assert shares[0.75] > 22


def test_ignored_pixels_do_not_count_as_a_class():
    mask = np.full((40, 40), IGNORED, np.uint8)
    geometry = Geometry((40, 40), (40, 40), (1.0, 1.0), (0.0, 0.0))
    assert largest_share(mask, geometry) == 1
    mask[:4], mask[4:8] = 0, 1
    assert largest_share(mask, geometry) == 0.5
    # Padding above the picture does not count either.
    assert largest_share(mask, geometry._replace(offset=(-20.0, 0.0))) == 0.5


@pytest.mark.parametrize(("fit", "rows"), [("stretch", 48), ("contain", 32), ("cover", 48)])
def test_factor_1_fits_the_picture_as_evaluation_does(fit, rows):
    picture, mask = scene(60, 120)
    preprocessing = Preprocessing(size=SIZE, fit=fit)
    classes = train_mask_transform(preprocessing, augment=STILL)(picture, mask, size=SIZE, share=0.0).target.in_input
    assert (classes != IGNORED).any(1).sum() == rows
    assert (eval_mask_transform(preprocessing)(picture, mask).target.in_input != IGNORED).any(1).sum() == rows


def test_factor_1_has_the_scale_of_evaluation_with_crop_pct(monkeypatch):
    preprocessing, (picture, mask) = Preprocessing(size=SIZE, fit="cover", crop_pct=0.5), scene(60, 120)
    drawn = []
    monkeypatch.setattr(
        "parckit.data.mask_transforms.largest_share", lambda _, geometry: drawn.append(geometry.scale) or 0.0
    )
    train_mask_transform(preprocessing, augment=replace(STILL, most_of_a_class=0.5))(
        picture, mask, size=SIZE, share=0.0
    )
    assert drawn == [eval_mask_transform(preprocessing)(picture, mask).geometry.scale]


@pytest.mark.parametrize("size", [(1, 1), (2, 300), (300, 2), (33, 31)])
@pytest.mark.parametrize("fit", ["stretch", "contain", "cover"])
def test_pictures_of_any_size_work(size, fit):
    picture, mask = scene(*size)
    preprocessing = Preprocessing(size=SIZE, fit=fit)
    for seed in range(5):
        seed_generators(seed)
        sample = train_mask_transform(preprocessing, augment=MaskAugmentSettings())(picture, mask, size=SIZE, share=0.0)
        assert sample.image.shape == (3, *SIZE)
        assert sample.image.isfinite().all()
        assert sample.target.in_input.shape == SIZE
        assert (sample.target.in_input != IGNORED).any()


@pytest.mark.parametrize("fit", ["stretch", "contain", "cover"])
def test_evaluation_keeps_the_mask_of_the_picture(fit):
    picture, mask = scene()
    sample = eval_mask_transform(Preprocessing(size=SIZE, fit=fit, fill=(0, 0, 0), **PLAIN))(picture, mask)
    assert isinstance(sample.target, PixelClasses)
    np.testing.assert_array_equal(sample.target.in_picture.numpy(), mask)
    assert mismatches(sample.image, sample.target.in_input) < 0.01
    back = sample.geometry.mask_to_picture(sample.target.in_input.numpy(), outside=IGNORED)
    is_seen = back != IGNORED
    assert (back[is_seen] == mask[is_seen]).mean() > 0.9
    assert (sample.target.in_input == IGNORED).any() == (fit == "contain")


def test_colours_change_the_picture_and_not_the_mask():
    picture, mask = scene(*SIZE)
    augment = MaskAugmentSettings(scale=(1.0, 1.0), most_of_a_class=1.0, colour=1.0, flip=0.0)
    transform, levels = train_mask_transform(STRETCH, augment=augment), set[float]()
    for seed in range(5):
        seed_generators(seed)
        sample = transform(picture, mask, size=SIZE, share=0.0)
        assert sample.target.in_input.tolist() == mask.tolist()
        levels.add(float(sample.image.mean()))
    assert len(levels) == 5


def test_batches_do_not_depend_on_workers_and_a_resumed_epoch_goes_on_with_the_same_ones():
    table = open_mask_table("digit_scenes:6", split="train")
    transform = train_mask_transform(Preprocessing(size=(64, 64), fit="stretch"), augment=MaskAugmentSettings())

    def load(workers: int, *, start: int = 0) -> list[Batch]:
        batches = SeededBatches(6, batch=BatchShape(2, (64, 64)), sizes=OneSize(), epochs=2, seed=1)
        batches.resume_at(1, start=start)
        dataset = DrawnImages(table, transform=transform)
        return [*train_loader(dataset, batches=batches, workers=workers, collate=collate_listed)]

    whole = load(0)
    for rest in (load(2), load(0, start=1)):
        for batch, same in zip(rest, whole[-len(rest) :], strict=True):
            assert torch.equal(batch.images, same.images)
            for target, other in zip(batch.targets, same.targets, strict=True):
                assert torch.equal(target.in_input, other.in_input)


@pytest.mark.parametrize(
    "options",
    [
        {"scale": (2.0, 1.0)},
        {"scale": (0.0, 1.0)},
        {"scale": (1.0, 9.0)},
        {"resize": "longer"},
        {"most_of_a_class": 1.5},
        {"flip": -0.1},
        {"colour": float("nan")},
    ],
)
def test_wrong_settings_are_refused(options):
    with pytest.raises(InputError, match=next(iter(options))):
        MaskAugmentSettings(**options)


@pytest.mark.parametrize(
    ("size", "fit", "tried"), [((100, 200), "cover", 1), ((90, 90), "contain", 1), ((90, 90), "cover", 10)]
)
def test_a_crop_that_shows_the_whole_picture_is_tried_once(size, fit, tried, monkeypatch):
    crops: list[Geometry] = []

    def note(mask: np.ndarray, geometry: Geometry) -> float:
        crops.append(geometry)
        return largest_share(mask, geometry)

    monkeypatch.setattr(mask_transforms, "largest_share", note)
    augment = MaskAugmentSettings(scale=(1.0, 1.0), colour=0.0, flip=0.0)
    transform = train_mask_transform(Preprocessing(size=size, fit=fit), augment=augment)
    transform(Image.new("RGB", (200, 100)), np.zeros((100, 200), np.uint8), size=size, share=0.0)
    assert len(crops) == tried
