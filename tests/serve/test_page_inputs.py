"""The page's preprocessing gives the numbers of `parckit.processing.preprocess`."""

from itertools import product
from typing import get_args

import numpy as np
import PIL
import pytest
from PIL import Image

from javascript import call, needs_node, picture_of, plain
from parckit.contract import ChannelOrder, Fit, InputSpec, Interpolation, Preprocessing
from parckit.processing import FLOAT_NCHW, preprocess, to_pixels

pytestmark = [
    needs_node,
    pytest.mark.skipif(
        int(PIL.__version__.partition(".")[0]) < 13,
        reason="Pillow 13 changed which axis is resized first; the page does what Pillow 13 does",
    ),
]

PICTURES = 50
SIDES = (1, 2, 3, 7, 31, 32, 33, 64, 100, 224, 255, 257, 400, 640)
EXTREME = ((1, 2000), (2000, 1), (3, 700), (600, 2))
"""(height, width) of pictures whose ends are cut off before they are resized."""
INPUTS = (
    FLOAT_NCHW,
    InputSpec(layout="NHWC", shape=(1, None, None, 3)),
    InputSpec(dtype="uint8", normalised_inside=True),
    InputSpec(dtype="uint8", layout="NHWC", shape=(1, None, None, 3), normalised_inside=True),
)


def picture(size: tuple[int, int], generator: np.random.Generator) -> Image.Image:
    """Return noise with coarse and fine parts and hard edges, at which bicubic weights leave the range of a byte."""
    coarse = Image.fromarray(generator.integers(0, 256, (5, 4, 3), dtype=np.uint8)).resize(size[::-1])
    noise = generator.integers(-60, 61, (*size, 3))
    pixels = (np.asarray(coarse) + noise).clip(0, 255).astype(np.uint8)
    pixels[: size[0] // 3, : size[1] // 2] = generator.choice([0, 255], 3)
    return Image.fromarray(pixels)


def settings(number: int, generator: np.random.Generator) -> Preprocessing:
    """Return one of all combinations of fit, filter and channels, with a random size."""
    combinations = list(product(get_args(Fit), get_args(Interpolation), get_args(ChannelOrder)))
    fit, interpolation, order = combinations[number % len(combinations)]
    channels = 1 if order == "grey" else 3
    return Preprocessing(
        size=(int(generator.choice([32, 48, 63])), int(generator.choice([32, 56, 97]))),
        fit=fit,
        crop_pct=float(generator.choice([1.0, 0.875, 0.9])) if fit == "cover" else 1.0,
        fill=(9, 99, 199),
        interpolation=interpolation,
        mean=(0.485, 0.456, 0.406)[:channels],
        std=(0.229, 0.224, 0.225)[:channels],
        channel_order=order,
    )


def test_fifty_pictures_become_the_same_numbers():
    """Levels of the input are equal to the last bit.

    The page computes as Pillow does: float64 weights, rounded to 22 bits behind the point, and whole numbers from there
    on. A Pillow whose compiler joins multiplications and additions (some on ARM) may round a weight otherwise, which
    can move a sum over the border between two levels. So a level may differ by 1, in one of a thousand places.
    """
    generator = np.random.default_rng(0)
    sizes = [*EXTREME, *(tuple(generator.choice(SIDES, 2).tolist()) for _ in range(PICTURES - len(EXTREME)))]
    pictures = [picture(size, generator) for size in sizes]
    every = [settings(number, generator) for number in range(PICTURES)]
    inputs = [INPUTS[number % len(INPUTS)] for number in range(PICTURES)]
    answers = call(
        [
            ("inputs", "preprocess", [picture_of(one, step=3 + number % 2), plain(how), plain(wanted)])
            for number, (one, how, wanted) in enumerate(zip(pictures, every, inputs, strict=True))
        ]
    )
    differences = []
    for one, how, wanted, answer in zip(pictures, every, inputs, answers, strict=True):
        expected, geometry = preprocess(one, how, wanted=wanted)
        actual = answer["data"].reshape(expected.shape)
        assert actual.dtype == expected.dtype
        levels, expected_levels = (to_pixels(array, how, wanted=wanted).astype(int) for array in (actual, expected))
        differences.append(np.abs(levels - expected_levels).ravel())
        if (levels == expected_levels).all():
            # The same level becomes the same float32 number.
            np.testing.assert_array_equal(actual, expected)
        for name, key in (("picture_size", "pictureSize"), ("input_size", "inputSize")):
            assert tuple(answer["geometry"][key]) == getattr(geometry, name)
        assert tuple(answer["geometry"]["scale"]) == geometry.scale
        assert tuple(answer["geometry"]["offset"]) == geometry.offset
    together = np.concatenate(differences)
    assert together.max() <= 1
    assert (together > 0).mean() <= 1e-3


@pytest.mark.parametrize("interpolation", get_args(Interpolation))
def test_a_large_picture_becomes_the_same_levels(interpolation):
    """A camera's picture is 20 times as wide as the input, so that a pixel is a sum of many; see above for 1 level."""
    image = picture((900, 1500), np.random.default_rng(1))
    how = Preprocessing(size=(64, 64), interpolation=interpolation, crop_pct=0.875)
    wanted = InputSpec(dtype="uint8", normalised_inside=True)
    (answer,) = call([("inputs", "preprocess", [picture_of(image, step=4), plain(how), plain(wanted)])])
    expected, _ = preprocess(image, how, wanted=wanted)
    difference = np.abs(answer["data"].reshape(expected.shape).astype(int) - expected)
    assert difference.max() <= 1
    assert (difference > 0).mean() <= 1e-3
