"""From a picture to a network's input: the only preprocessing there is.

Evaluation in training, every engine, `parckit predict` and boards use these functions; training's random changes end
with `to_array`. numpy and Pillow are all they need.
"""

from functools import cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputSpec, Preprocessing
from parckit.processing.geometry import Geometry

_MOST_ASPECT = 16
"""Largest aspect ratio of a picture, relative to that of the size it must cover, before its ends are cut off."""
FLOAT_NCHW = InputSpec()
"""The input of the networks themselves: (3, H, W) float32, normalised."""


def preprocess(
    picture: Image.Image, preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW
) -> tuple[NDArray[np.generic], Geometry]:
    """Turn an upright RGB picture into one image of a network's input.

    Args:
        picture: as `parckit.processing.open_picture` returns it.
        preprocessing: what the network expects.
        wanted: type and layout of the input, and whether the network itself normalises.

    Returns:
        The input without its batch dimension, and where its pixels lie in the picture.

    Shape:
        (C, H, W), or (H, W, C) in NHWC layout; C is 3, or 1 for grey
    """
    fitted, geometry = fit(picture, preprocessing)
    return to_array(fitted, preprocessing, wanted=wanted), geometry


def fit(picture: Image.Image, preprocessing: Preprocessing) -> tuple[Image.Image, Geometry]:
    """Bring a picture to `preprocessing.size` in the way that `preprocessing.fit` says."""
    size = (picture.height, picture.width)
    placement = _PLACEMENTS[preprocessing.fit](size, preprocessing)
    (height, width), (top, left) = preprocessing.size, placement.corner
    fitted = Image.new("RGB", (width, height), preprocessing.fill)
    resized = _resized(_middle(picture, placement.part), placement.resized, resample=_resample(preprocessing))
    fitted.paste(resized, (-left, -top))
    return fitted, placement.geometry(size, preprocessing.size)


def fitted_geometry(size: tuple[int, int], preprocessing: Preprocessing) -> Geometry:
    """Return the geometry that `fit` returns for a picture of `size` (height, width), without a picture."""
    return _PLACEMENTS[preprocessing.fit](size, preprocessing).geometry(size, preprocessing.size)


def whole_picture(
    picture: Image.Image, preprocessing: Preprocessing, *, wanted: InputSpec
) -> tuple[NDArray[np.generic], Geometry]:
    """Return a picture at its own size, for sessions that take pictures of any size; otherwise as `preprocess` does."""
    size = (picture.height, picture.width)
    geometry = Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))
    return to_array(picture, preprocessing, wanted=wanted), geometry


def cover(picture: Image.Image, size: tuple[int, int], *, resample: Image.Resampling) -> Image.Image:
    """Resize with the aspect ratio kept so that `size` (height, width) is just covered; the longer side rounds down.

    If the aspect ratio of a picture is extreme, its ends are cut off first; see `_shortened`.
    """
    part = _shortened((picture.height, picture.width), size)
    return _resized(_middle(picture, part), _covering(part, size), resample=resample)


def _shortened(whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) of the part in the middle of a picture that is resized so that it covers `size`.

    It is the whole picture, unless its aspect ratio is extreme, measured by that of `size`. Resized to cover 256 x 256,
    a picture of 20,000 x 1 pixels would need 4 GB.
    """
    height, width = size
    longest = (max(1, _MOST_ASPECT * height * whole[1] // width), max(1, _MOST_ASPECT * width * whole[0] // height))
    return min(whole[0], longest[0]), min(whole[1], longest[1])


def _covering(part: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which a part of a picture is resized so that it covers `size`."""
    height, width = size
    if height * part[1] >= width * part[0]:
        return height, height * part[1] // part[0]
    return width * part[0] // part[1], width


def to_array(
    picture: Image.Image, preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW
) -> NDArray[np.generic]:
    """Order the channels of a fitted RGB picture, or make it grey; divide by 255 and normalise.

    Shape:
        (C, H, W), or (H, W, C) in NHWC layout; C is 3, or 1 for grey
    """
    is_grey = preprocessing.channel_order == "grey"
    pixels = np.asarray(picture.convert("L"))[..., None] if is_grey else np.asarray(picture)
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    scale, shift = _affine(preprocessing)
    if wanted.layout == "NCHW":
        pixels = pixels.transpose(2, 0, 1)
        scale, shift = scale[:, None, None], shift[:, None, None]
    if wanted.normalised_inside:
        return np.array(pixels, dtype=wanted.dtype, order="C")  # a copy: Pillow's memory is read-only
    array = pixels.astype(np.float32, order="C")
    # Two float32 operations in this order, as training has always done: the numbers must not change by one bit.
    array *= scale
    array += shift
    return array


def to_pixels(
    array: NDArray[np.generic], preprocessing: Preprocessing, *, wanted: InputSpec = FLOAT_NCHW
) -> NDArray[np.uint8]:
    """Turn one image of a network's input back into RGB pixels, as `to_array` got them.

    Shape:
        (C, H, W), or (H, W, C) in NHWC layout -> (H, W, 3)
    """
    pixels = array.transpose(1, 2, 0) if wanted.layout == "NCHW" else array
    if not wanted.normalised_inside:
        pixels = 255 * (pixels.astype(np.float64) * preprocessing.std + preprocessing.mean)
    if preprocessing.channel_order == "bgr":
        pixels = pixels[..., ::-1]
    return np.broadcast_to(pixels, (*pixels.shape[:2], 3)).round().clip(0, 255).astype(np.uint8)


@cache
def _affine(preprocessing: Preprocessing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return what pixel values are multiplied by and then shifted by, a number for each channel."""
    mean, std = np.array(preprocessing.mean), np.array(preprocessing.std)
    return (1 / (255 * std)).astype(np.float32), (-mean / std).astype(np.float32)


class _Placement(NamedTuple):
    """How a picture is brought to the size of an input: a part of it is resized, and then cut or padded.

    Attributes:
        part: (height, width) of the part in the middle of the picture that is resized, pixels.
        resized: (height, width) to which it is resized.
        corner: (top, left) of the input in the resized part; negative where padding is added.
    """

    part: tuple[int, int]
    resized: tuple[int, int]
    corner: tuple[int, int]

    def geometry(self, picture_size: tuple[int, int], input_size: tuple[int, int]) -> Geometry:
        """Return where the input lies in the picture."""
        rows, columns = (after / before for before, after in zip(self.part, self.resized, strict=True))
        above, beside = _before_middle(picture_size, self.part)
        offset = (self.corner[0] + above * rows, self.corner[1] + beside * columns)
        return Geometry(picture_size=picture_size, input_size=input_size, scale=(rows, columns), offset=offset)


def _cover(size: tuple[int, int], preprocessing: Preprocessing) -> _Placement:
    part = _shortened(size, preprocessing.resize_size)
    resized = _covering(part, preprocessing.resize_size)
    # The crop lies at the centre; half pixels round to even.
    top, left = (round((whole - side) / 2) for whole, side in zip(resized, preprocessing.size, strict=True))
    return _Placement(part=part, resized=resized, corner=(top, left))


def _stretch(size: tuple[int, int], preprocessing: Preprocessing) -> _Placement:
    return _Placement(part=size, resized=preprocessing.size, corner=(0, 0))


def _contain(size: tuple[int, int], preprocessing: Preprocessing) -> _Placement:
    height, width = preprocessing.size
    if height * size[1] <= width * size[0]:
        inner = (height, max(1, height * size[1] // size[0]))
    else:
        inner = (max(1, width * size[0] // size[1]), width)
    return _Placement(part=size, resized=inner, corner=(-((height - inner[0]) // 2), -((width - inner[1]) // 2)))


_PLACEMENTS = {"cover": _cover, "stretch": _stretch, "contain": _contain}
"""How a picture of (height, width) is brought to the input, for each value of `Preprocessing.fit`."""


def _before_middle(whole: tuple[int, int], part: tuple[int, int]) -> tuple[int, int]:
    """Return the pixels above and to the left of a part in the middle."""
    return (whole[0] - part[0]) // 2, (whole[1] - part[1]) // 2


def _middle(picture: Image.Image, part: tuple[int, int]) -> Image.Image:
    """Return the part of (height, width) in the middle of a picture."""
    if part == (picture.height, picture.width):
        return picture
    top, left = _before_middle((picture.height, picture.width), part)
    return picture.crop((left, top, left + part[1], top + part[0]))


def _resized(picture: Image.Image, size: tuple[int, int], *, resample: Image.Resampling) -> Image.Image:
    """Resize a picture to (height, width). If it has that size, it stays as it is: resizing would copy it."""
    return picture if size == (picture.height, picture.width) else picture.resize((size[1], size[0]), resample)


def _resample(preprocessing: Preprocessing) -> Image.Resampling:
    return Image.Resampling[preprocessing.interpolation.upper()]
