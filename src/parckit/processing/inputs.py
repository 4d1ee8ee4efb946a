"""From a picture to a network's input: the only preprocessing there is.

Evaluation in training, every engine, `parckit predict` and boards use these functions; training's random changes end
with `to_array`. numpy and Pillow are all they need.
"""

from functools import cache

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
    geometry = fitted_geometry((picture.height, picture.width), preprocessing)
    return _FITS[preprocessing.fit](picture, preprocessing), geometry


def fitted_geometry(size: tuple[int, int], preprocessing: Preprocessing) -> Geometry:
    """Return the geometry that `fit` returns for a picture of `size` (height, width), without a picture."""
    scale, offset = _PLACES[preprocessing.fit](size, preprocessing)
    return Geometry(picture_size=size, input_size=preprocessing.size, scale=scale, offset=offset)


def cover(picture: Image.Image, size: tuple[int, int], *, resample: Image.Resampling) -> Image.Image:
    """Resize with the aspect ratio kept so that `size` (height, width) is just covered; the longer side rounds down.

    Of a picture that is much longer than `size`, only the part in the middle is resized; see `shorten`.
    """
    picture, _ = shorten(picture, size)
    height, width = _covering((picture.height, picture.width), size)
    # A picture of that size stays as it is: resizing would copy it.
    return picture if (width, height) == picture.size else picture.resize((width, height), resample)


def shorten(picture: Image.Image, size: tuple[int, int]) -> tuple[Image.Image, tuple[int, int]]:
    """Cut off the ends of a picture whose aspect ratio is extreme, measured by that of `size` (height, width).

    Resized to cover 256 x 256, a picture of 20,000 x 1 pixels would need 4 GB.

    Returns:
        The part in the middle, and the pixels that were cut off at the (top, left).
    """
    rows, columns = _shortened((picture.height, picture.width), size)
    top, left = (picture.height - rows) // 2, (picture.width - columns) // 2
    if (rows, columns) == (picture.height, picture.width):
        return picture, (0, 0)
    return picture.crop((left, top, left + columns, top + rows)), (top, left)


def _shortened(whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) that `shorten` leaves of a picture of (height, width) `whole`."""
    height, width = size
    longest = (max(1, _MOST_ASPECT * height * whole[1] // width), max(1, _MOST_ASPECT * width * whole[0] // height))
    return min(whole[0], longest[0]), min(whole[1], longest[1])


def _covering(part: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return the (height, width) to which `cover` resizes a shortened picture of (height, width) `part`."""
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


_Place = tuple[tuple[float, float], tuple[float, float]]
"""`scale` and `offset` of a Geometry."""


def _place_cover(size: tuple[int, int], preprocessing: Preprocessing) -> _Place:
    part = _shortened(size, preprocessing.resize_size)
    height, width = _covering(part, preprocessing.resize_size)
    top, left = _centred((height, width), preprocessing.size)
    cut = (size[0] - part[0]) // 2, (size[1] - part[1]) // 2
    scale = (height / part[0], width / part[1])
    return scale, (top + cut[0] * scale[0], left + cut[1] * scale[1])


def _fit_cover(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    resized = cover(picture, preprocessing.resize_size, resample=_resample(preprocessing))
    height, width = preprocessing.size
    top, left = _centred((resized.height, resized.width), preprocessing.size)
    return resized.crop((left, top, left + width, top + height))


def _centred(whole: tuple[int, int], size: tuple[int, int]) -> tuple[int, int]:
    """Return (top, left) of a crop of `size` at the centre; half pixels round to even."""
    return round((whole[0] - size[0]) / 2), round((whole[1] - size[1]) / 2)


def _place_stretch(size: tuple[int, int], preprocessing: Preprocessing) -> _Place:
    height, width = preprocessing.size
    return (height / size[0], width / size[1]), (0.0, 0.0)


def _fit_stretch(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    height, width = preprocessing.size
    return picture.resize((width, height), _resample(preprocessing))


def _place_contain(size: tuple[int, int], preprocessing: Preprocessing) -> _Place:
    inner, (top, left) = _contained(size, preprocessing.size)
    return (inner[0] / size[0], inner[1] / size[1]), (float(-top), float(-left))


def _fit_contain(picture: Image.Image, preprocessing: Preprocessing) -> Image.Image:
    height, width = preprocessing.size
    inner, (top, left) = _contained((picture.height, picture.width), preprocessing.size)
    padded = Image.new("RGB", (width, height), preprocessing.fill)
    padded.paste(picture.resize((inner[1], inner[0]), _resample(preprocessing)), (left, top))
    return padded


def _contained(whole: tuple[int, int], size: tuple[int, int]) -> tuple[tuple[int, int], tuple[int, int]]:
    """Return the (height, width) of a picture that fits into `size`, and its (top, left) there."""
    height, width = size
    if height * whole[1] <= width * whole[0]:
        inner = (height, max(1, height * whole[1] // whole[0]))
    else:
        inner = (max(1, width * whole[0] // whole[1]), width)
    return inner, ((height - inner[0]) // 2, (width - inner[1]) // 2)


_PLACES = {"cover": _place_cover, "stretch": _place_stretch, "contain": _place_contain}
"""Where a picture lies in the input, for each value of `Preprocessing.fit`."""
_FITS = {"cover": _fit_cover, "stretch": _fit_stretch, "contain": _fit_contain}
"""What brings a picture there."""


def _resample(preprocessing: Preprocessing) -> Image.Resampling:
    return Image.Resampling[preprocessing.interpolation.upper()]
