import hashlib

import numpy as np
import pytest

from parckit.data.digits import SIDE, open_digits

# Never change these numbers: results on the digits can be compared only if all runs have the same split.
SPLITS = {
    "train": (1255, "e60d742ed642118f"),
    "val": (178, "633f33b9142116f3"),
    "test": (364, "a3031b13dd335f81"),
    "all": (1797, "0b7e9c3202d7bcd2"),
}


@pytest.mark.parametrize("split", SPLITS)
def test_the_split_never_changes(split):
    table = open_digits(split=split)
    digest = hashlib.sha256(table.pixels.astype("<u1").tobytes() + table.targets.astype("<i8").tobytes()).hexdigest()
    assert (len(table.targets), digest[:16]) == SPLITS[split]


def test_the_splits_make_up_the_whole_without_overlap():
    # The 1,797 pictures are all different, so equal bytes would mean the same picture.
    pictures = [image.tobytes() for split in ("train", "val", "test") for image in open_digits(split=split).pixels]
    assert len(set(pictures)) == len(pictures) == 1797


@pytest.mark.parametrize(("split", "share"), [("train", 0.70), ("val", 0.10), ("test", 0.20)])
def test_every_class_has_its_share(split, share):
    shares = np.bincount(open_digits(split=split).targets) / np.bincount(open_digits(split="all").targets)
    # Rounding up gives test and val at most one more image of a class: 1 / 174 of the rarest class.
    np.testing.assert_allclose(shares, share, atol=0.015)


def test_a_digit_is_an_upscaled_rgb_picture():
    table = open_digits(split="test")
    image = table.load(0)
    assert (image.mode, image.size, table.labels) == ("RGB", (SIDE, SIDE), tuple("0123456789"))
    # A 4 x 4 block's mean follows its source pixel; the bicubic filter's smoothing leaves a strong correlation.
    blocks = np.asarray(image)[..., 0].reshape(8, 4, 8, 4).mean(axis=(1, 3))
    assert np.corrcoef(blocks.ravel(), table.pixels[0].ravel())[0, 1] > 0.95
