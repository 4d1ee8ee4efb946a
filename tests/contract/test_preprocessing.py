import pytest

from parckit.contract import InputError, Preprocessing


def test_the_resize_size_is_what_the_crop_is_a_share_of():
    assert Preprocessing(size=(256, 256), crop_pct=256 / 288).resize_size == (288, 288)
    assert Preprocessing(size=(224, 112), crop_pct=0.875).resize_size == (256, 128)


def test_grey_images_have_the_average_of_the_channels():
    colours = Preprocessing(size=(8, 8), mean=(0.3, 0.4, 0.5), std=(0.1, 0.2, 0.3), channel_order="bgr")
    grey = colours.as_grey()
    assert (colours.channels, grey.channels, grey.channel_order, grey.size) == (3, 1, "grey", (8, 8))
    assert (grey.mean, grey.std) == (pytest.approx((0.4,)), pytest.approx((0.2,)))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"size": (0, 5)}, "size="),
        ({"crop_pct": 0.0}, "crop_pct=0.0"),
        ({"crop_pct": 1.1}, "crop_pct=1.1"),
        ({"crop_pct": 0.9, "fit": "contain"}, "crop_pct=0.9"),
        ({"std": (1.0, 0.0, 1.0)}, "std="),
        ({"fill": (0, 0, 256)}, "fill="),
        ({"fit": "squeeze"}, "fit='squeeze'"),
        ({"interpolation": "lanczos"}, "interpolation='lanczos'"),
        ({"channel_order": "grb"}, "channel_order='grb'"),
        ({"channel_order": "grey"}, r"mean=\(0.0, 0.0, 0.0\): has 3 values, but channel_order='grey' needs 1"),
        ({"std": (1.0,)}, r"std=\(1.0,\): has 1 values, but channel_order='rgb' needs 3"),
    ],
    ids=str,
)
def test_a_bad_value_is_named(wrong, named):
    with pytest.raises(InputError, match=named):
        Preprocessing(**({"size": (32, 32)} | wrong))
