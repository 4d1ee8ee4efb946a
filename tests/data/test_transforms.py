import pickle
import random

import numpy as np
import pytest
import torch
from PIL import Image
from timm.data import create_transform
from torch import Tensor

from parckit.contract import InputError, Preprocessing
from parckit.data import AugmentSettings, eval_transform, train_transform
from parckit.processing import preprocess

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
RAND = "rand-m9-mstd0.5-inc1"


def seed(number: int) -> None:
    """Seed every generator that augmentation draws from, as a data set does for each image."""
    torch.manual_seed(number)
    np.random.seed(number)  # noqa: NPY002 - timm's
    random.seed(number)


def evaluated(image: Image.Image, preprocessing: Preprocessing) -> Tensor:
    """Return an image after the evaluation preprocessing."""
    return eval_transform(preprocessing)(image, 0)[0]


def changed(
    image: Image.Image,
    preprocessing: Preprocessing,
    augment: AugmentSettings,
    *,
    size: tuple[int, int] | None = None,
    share: float = 0.0,
) -> Tensor:
    """Return an image after training's random changes; its size is the preprocessing's unless another one is named."""
    transform = train_transform(preprocessing, augment=augment)
    return transform(image, 0, size=size or preprocessing.size, share=share)[0]


def _filter_matrix(old: int, new: int) -> np.ndarray:
    """Antialiased bilinear resampling along one axis, (new, old): a triangle as wide as the scale, in float64."""
    scale = old / new
    width = max(scale, 1.0)
    centres = (np.arange(new)[:, None] + 0.5) * scale
    weights = np.clip(1 - np.abs(np.arange(old)[None] + 0.5 - centres) / width, 0, None)
    return weights / weights.sum(axis=1, keepdims=True)


def _expected(image: Image.Image, *, resized: tuple[int, int], corner: tuple[int, int], size: tuple[int, int]):
    pixels = np.asarray(image, dtype=np.float64)
    rows, columns = _filter_matrix(pixels.shape[0], resized[0]), _filter_matrix(pixels.shape[1], resized[1])
    pixels = np.einsum("ih,hwc,jw->ijc", rows, pixels, columns)
    pixels = pixels[corner[0] : corner[0] + size[0], corner[1] : corner[1] + size[1]]
    return ((pixels / 255 - MEAN) / STD).transpose(2, 0, 1)


@pytest.mark.parametrize(
    ("height", "width", "size", "crop_pct", "resized", "corner"),
    [
        (40, 60, (16, 16), 1.0, (16, 24), (0, 4)),
        (61, 40, (16, 24), 1.0, (36, 24), (10, 0)),
        (50, 70, (14, 21), 0.875, (17, 24), (2, 2)),
        (9, 7, (18, 14), 1.0, (18, 14), (0, 0)),
        (33, 100, (20, 20), 0.8, (25, 75), (2, 28)),
    ],
)
def test_eval_equals_an_independent_float64_computation(picture, height, width, size, crop_pct, resized, corner):
    image = picture(height=height, width=width)
    result = evaluated(image, Preprocessing(size=size, crop_pct=crop_pct, mean=MEAN, std=STD))
    assert (result.shape, result.dtype) == ((3, *size), torch.float32)
    # Pillow resizes in two passes and rounds after both: at most one level in all, and 1 % for its fixed-point numbers.
    tolerance = 1.01 / 255 / min(STD)
    np.testing.assert_allclose(
        result, _expected(image, resized=resized, corner=corner, size=size), atol=tolerance, rtol=0
    )


def test_an_image_of_the_right_size_is_only_normalised(picture):
    image = picture(height=12, width=9)
    result = evaluated(image, Preprocessing(size=(12, 9), mean=MEAN, std=STD))
    expected = ((np.asarray(image) / 255 - MEAN) / STD).transpose(2, 0, 1)
    # float32 against float64: values below 5, two roundings of 6e-8 relative.
    np.testing.assert_allclose(result, expected, atol=2e-6, rtol=0)


def test_bgr_turns_the_channels_before_mean_and_std():
    image = Image.new("RGB", (4, 4), (255, 102, 0))
    result = evaluated(image, Preprocessing(size=(4, 4), mean=MEAN, std=STD, channel_order="bgr"))
    # As above: float32 rounding.
    np.testing.assert_allclose(result[:, 0, 0], [(0 - 0.5) / 0.2, (0.4 - 0.4) / 0.25, (1 - 0.3) / 0.3], atol=2e-6)


@pytest.mark.parametrize("fit", [{"fit": "cover", "crop_pct": 0.8}, {"fit": "stretch"}, {"fit": "contain"}], ids=str)
@pytest.mark.parametrize("size", [(8, 12), (12, 12), (20, 30)], ids=str)
def test_training_without_augmentation_is_evaluation(picture, fit, size):
    preprocessing = Preprocessing(size=(8, 12), mean=MEAN, std=STD, interpolation="bicubic", **fit)
    nothing = AugmentSettings(crop="none", flip=0.0)
    for height, width in ((30, 31), (9, 40), (8, 12)):
        image = picture(height=height, width=width)
        expected = preprocess(image, preprocessing.with_size(size))[0]
        assert np.array_equal(changed(image, preprocessing, nothing, size=size), expected)


def test_what_is_true_of_a_picture_stays_true(picture):
    preprocessing = Preprocessing(size=(8, 12))
    train = train_transform(preprocessing, augment=AugmentSettings())
    for target in (7, {"boxes": [1, 2, 3, 4]}):
        assert eval_transform(preprocessing)(picture(), target)[1] is target
        assert train(picture(), target, size=(8, 12), share=0.0)[1] is target


@pytest.mark.parametrize(
    "augment",
    [
        AugmentSettings(),
        AugmentSettings(crop="pad", padding=4),
        AugmentSettings(crop="none", rotate=10, translate=0.1),
        AugmentSettings(crop="pad", policy="trivial", erasing=1.0),
        AugmentSettings(policy=RAND, interpolation="random", erasing=0.5),
    ],
    ids=str,
)
@pytest.mark.parametrize("shape", [(32, 32), (20, 47)])
def test_augmentation_is_seeded_random_and_of_the_asked_size(picture, augment, shape):
    transform = pickle.loads(pickle.dumps(train_transform(Preprocessing(size=(16, 24)), augment=augment)))  # noqa: S301
    image = picture(height=shape[0], width=shape[1])
    seed(0)
    first = [transform(image, 0, size=(16, 24), share=0.0)[0] for _ in range(4)]
    seed(0)
    second = [transform(image, 0, size=(16, 24), share=0.0)[0] for _ in range(4)]
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))
    assert all((a.shape, a.dtype) == ((3, 16, 24), torch.float32) for a in first)
    assert any(not torch.equal(first[0], other) for other in first[1:])


@pytest.mark.parametrize(("side", "padding"), [(8, 2), (16, 4)])
def test_a_padded_crop_shifts_by_at_most_its_share_of_the_padding(picture, side, padding):
    # At half the recipe's side the padding is half as wide.
    image = picture(height=8, width=8)
    augment = AugmentSettings(crop="pad", padding=padding, flip=0.0)
    preprocessing = Preprocessing(size=(side, side))
    padded = np.pad(np.asarray(image), ((2, 2), (2, 2), (0, 0))).transpose(2, 0, 1)
    windows = {(padded[:, i : i + 8, j : j + 8]).tobytes() for i in range(5) for j in range(5)}
    torch.manual_seed(0)
    crops = (changed(image, preprocessing, augment, size=(8, 8)) for _ in range(60))
    result = {crop.mul(255).round().to(torch.uint8).numpy().tobytes() for crop in crops}
    assert result <= windows
    assert len(result) > 10  # of 25 windows in 60 draws


def test_a_certain_flip_mirrors(picture):
    image = picture(height=5, width=6)
    preprocessing = Preprocessing(size=(5, 6))
    mirrored = changed(image, preprocessing, AugmentSettings(crop="none", flip=1.0))
    assert torch.equal(mirrored, evaluated(image, preprocessing).flip(-1))


@pytest.mark.parametrize("order", ["rgb", "bgr"])
@pytest.mark.parametrize("interpolation", ["bicubic", "random"])
def test_randaugment_is_that_of_timms_own_pipeline(picture, interpolation, order):
    image = picture(height=20, width=20)
    _, *theirs, to_tensor, normalise = create_transform(
        (3, 20, 20),
        is_training=True,
        auto_augment=RAND,
        interpolation=interpolation,
        hflip=0.0,
        mean=MEAN,
        std=STD,
    ).transforms
    channels = {"rgb": slice(None), "bgr": slice(None, None, -1)}[order]
    preprocessing = Preprocessing(size=(20, 20), mean=MEAN[channels], std=STD[channels], channel_order=order)
    augment = AugmentSettings(crop="none", flip=0.0, policy=RAND, interpolation=interpolation)
    different = 0
    for number in range(30):
        seed(number)
        augmented = image
        try:
            for step in theirs:
                augmented = step(augmented)
        except ValueError:
            continue  # at full strength timm posterises to 0 bits, which new versions of Pillow refuse
        expected = normalise(to_tensor(augmented)).numpy()[channels]
        seed(number)
        # Both divide by 255, subtract and divide in float32: values below 5, two roundings of 6e-8 relative.
        np.testing.assert_allclose(changed(image, preprocessing, augment), expected, atol=2e-6, rtol=0)
        different += augmented.tobytes() != image.tobytes()
    assert different > 15  # each of the two operations is left out with probability 0.5


def test_randaugment_at_full_strength_works_with_every_pillow(picture):
    image = picture(height=8, width=8)
    augment = AugmentSettings(crop="none", policy="rand-m10-p1-n15-inc1")
    # 15 operations are drawn from 15 with replacement: nearly two of three images would meet one that fails.
    for number in range(20):
        seed(number)
        assert changed(image, Preprocessing(size=(8, 8)), augment).isfinite().all()


def test_random_interpolation_is_bilinear_or_bicubic(picture):
    image = picture(height=31, width=31)

    # A crop of the whole area at another aspect does not fit into the square, so every crop is the whole square.
    def crop(interpolation: str) -> bytes:
        augment = AugmentSettings(scale=(1.0, 1.0), flip=0.0, interpolation=interpolation)
        return changed(image, Preprocessing(size=(13, 13)), augment).numpy().tobytes()

    seed(0)
    drawn = {crop("random") for _ in range(20)}
    assert drawn == {crop("bilinear"), crop("bicubic")}
    assert len(drawn) == 2


def test_erasing_fills_one_rectangle_with_noise(picture):
    image = picture(height=40, width=40)
    preprocessing = Preprocessing(size=(40, 40), mean=MEAN, std=STD)
    plain = evaluated(image, preprocessing)
    erasing = AugmentSettings(crop="none", flip=0.0, erasing=1.0)
    seed(0)
    for _ in range(20):
        result = changed(image, preprocessing, erasing)
        rows, columns = (result != plain).any(dim=0).nonzero(as_tuple=True)
        box = (slice(None), slice(rows.min(), rows.max() + 1), slice(columns.min(), columns.max() + 1))
        # Sides are rounded to pixels: half a pixel of 40 is 1.3 % of a side, which changes the area by less than 1.5 %.
        assert 0.02 - 0.015 < result[box][0].numel() / 40**2 < 1 / 3 + 0.015
        outside = torch.ones_like(plain, dtype=torch.bool)
        outside[box] = False
        assert torch.equal(result[outside], plain[outside])
        # Standard deviation of at least 25 normal values: 1, within four of its standard errors, 0.14 each.
        assert 0.4 < result[box].std() < 1.6


def test_a_run_ends_on_plain_images(picture):
    image = picture(height=40, width=40)
    preprocessing = Preprocessing(size=(40, 40), mean=MEAN, std=STD)
    augment = AugmentSettings(crop="none", flip=0.0, policy="trivial", erasing=1.0, until=0.75)
    plain = evaluated(image, preprocessing)
    assert not torch.equal(changed(image, preprocessing, augment, share=0.7), plain)
    assert torch.equal(changed(image, preprocessing, augment, share=0.75), plain)


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
def test_training_images_have_the_size_asked_for(picture, crop):
    preprocessing, image = Preprocessing(size=(16, 24), crop_pct=0.8), picture(height=30, width=50)
    for size in ((8, 12), (24, 24), (40, 60)):
        assert changed(image, preprocessing, AugmentSettings(crop=crop), size=size).shape == (3, *size)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"crop": "centre"}, "crop='centre': choose from"),
        ({"policy": "auto"}, "policy='auto': choose from"),
        ({"policy": "rand-m9-x3"}, "policy='rand-m9-x3': choose from"),
        ({"policy": "rand-magnitude"}, "policy='rand-magnitude': choose from"),
        ({"interpolation": "lanczos"}, "interpolation='lanczos': choose from"),
        ({"scale": (0.0, 1.0)}, "scale=.*must be two shares"),
        ({"scale": (0.9, 0.5)}, "scale=.*must be two shares"),
        ({"padding": -1}, "padding=-1: must be 0 pixels or more"),
        ({"rotate": 200.0}, "rotate=200.0: must lie in 0..180 degrees"),
        ({"flip": 1.5}, "flip=1.5: must lie in 0..1"),
        ({"translate": -0.1}, "translate=-0.1: must lie in 0..1"),
        ({"erasing": 2.0}, "erasing=2.0: must lie in 0..1"),
        ({"until": 1.5}, "until=1.5: must lie in 0..1"),
    ],
)
def test_augment_refuses_what_makes_no_sense(values, message):
    with pytest.raises(InputError, match=message):
        AugmentSettings(**values)


@pytest.mark.parametrize("crop", ["random_resized", "pad", "none"])
@pytest.mark.parametrize("size", [(20_000, 1), (1, 20_000), (20_000, 3), (3, 65_000)])
def test_no_step_of_training_makes_a_huge_picture(monkeypatch, crop, size):
    resize, made = Image.Image.resize, []

    def record(image, size, *args, **kwargs):
        made.append(size[0] * size[1])
        return resize(image, size, *args, **kwargs)

    monkeypatch.setattr(Image.Image, "resize", record)
    transform = train_transform(Preprocessing(size=(256, 256)), augment=AugmentSettings(crop=crop))
    sample = transform(Image.new("RGB", size), 0, size=(256, 256), share=0.0)
    assert sample.image.shape == (3, 256, 256)
    assert max(made) <= 16 * 256 * 256
