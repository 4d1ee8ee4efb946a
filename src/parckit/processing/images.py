"""Decoding: any picture that a user may have becomes an upright RGB image, or an error that names it."""

from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from functools import cache
from importlib import import_module
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from parckit.contract import PIXELS_VARIABLE, InputError, most_pixels, reading
from parckit.processing.listing import pictures

FORMAT_OF_EXTENSION = {
    ".jpg": "JPEG",
    ".jpeg": "JPEG",
    ".png": "PNG",
    ".webp": "WEBP",
    ".bmp": "BMP",
    ".ppm": "PPM",
    ".pgm": "PPM",
    ".tif": "TIFF",
    ".tiff": "TIFF",
    ".gif": "GIF",
    ".avif": "AVIF",
    ".heic": "HEIF",
    ".heif": "HEIF",
}
"""File ending, lower case -> Pillow's name of the format that it promises. Decoding looks at the bytes alone."""

IMAGE_EXTENSIONS = tuple(FORMAT_OF_EXTENSION)
"""File endings, lower case, that count as images in folders and shards."""

IMAGE_FORMATS = tuple(dict.fromkeys(FORMAT_OF_EXTENSION.values()))
"""The only decoders that are tried. Pillow knows others, such as EPS, that start programs on a stranger's file."""

_HOW_TO_READ = {
    "HEIF": 'HEIC pictures need the package pillow-heif; install it with: pip install "parckit[heic]"',
    "AVIF": "AVIF pictures need Pillow 11.3 or newer",
}
"""Format that not every installation can read -> what to do."""

_SIXTEEN_BITS = 65535
"""Largest value of a 16-bit pixel."""


Picture = str | Path | Image.Image | NDArray[np.uint8]
"""What a user may give as a picture: a file, a Pillow image, or (H, W, 3) RGB or (H, W) grey pixels from 0 to 255."""


def open_picture(source: Picture) -> Image.Image:
    """Return any picture as RGB, turned upright by its EXIF tag.

    Raises:
        InputError: if a file is missing or cannot be decoded, an array has another type or shape, or `source` is
            something else.
    """
    if isinstance(source, str | Path):
        return load_image(source)
    if isinstance(source, Image.Image):
        if not source.width or not source.height:
            raise InputError(f"Pillow image of size {source.size}: has no pixels")
        # Pillow reads the pixels of an opened file only now.
        with _naming(str(getattr(source, "filename", "") or "Pillow image")):
            _check_pixels(source, limit=most_pixels())
            return _rgb(ImageOps.exif_transpose(source))
    if not isinstance(source, np.ndarray):  # pyright: ignore[reportUnnecessaryIsInstance] - callers may not check types
        raise InputError(f"picture={source!r:.60}: must be a file, a Pillow image or an array of pixels")
    is_picture = source.ndim == 2 or (source.ndim == 3 and source.shape[2] == 3)
    if not is_picture or source.dtype != np.uint8 or not source.size:
        raise InputError(f"array of shape {source.shape} and type {source.dtype}: needs (H, W, 3) or (H, W) of uint8")
    return Image.fromarray(source).convert("RGB")


def load_image(path: str | Path) -> Image.Image:
    """Read an image file as RGB, turned upright by its EXIF tag.

    Alpha is dropped, palettes are looked up, and of an animation the first picture counts. Grey pixels of more than 8
    bits are brought to 8 bits: see `_eight_bits`.

    Raises:
        InputError: if the file is missing or cannot be decoded; names the path.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    return _decode(path, name=str(path))


def list_images(folder: Path, *, endings: Sequence[str] = IMAGE_EXTENSIONS) -> list[Path]:
    """Return the image files of a folder and of all folders in it, sorted. The files are not opened.

    Hidden files and files that a system left there are not images: see `parckit.processing.listing`.

    Args:
        folder: the folder.
        endings: of the files, lower case.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    paths = sorted(map(Path, pictures(str(folder), endings=endings, left_out=[])))
    if not paths:
        raise InputError(f"{folder}: holds no images; accepted endings are {', '.join(endings)}")
    return paths


def decode_image(data: bytes, *, name: str, limit: int | None = None) -> Image.Image:
    """Decode an image held in memory as `load_image` does.

    Args:
        data: content of the image's file.
        name: what an error calls it.
        limit: most pixels; None leaves the limit to the environment.

    Raises:
        InputError: if the bytes cannot be decoded, or hold too many pixels; begins with `name`.
    """
    return _decode(BytesIO(data), name=name, limit=limit)


def _decode(source: Path | BytesIO, *, name: str, limit: int | None = None) -> Image.Image:
    limit, by = (most_pixels(), PIXELS_VARIABLE) if limit is None else (limit, "the limit")
    if limit is not None:
        Image.MAX_IMAGE_PIXELS = None  # Pillow's own limit, for the whole process
    with _naming(name), Image.open(source, formats=readable_formats()) as image:
        _check_pixels(image, limit=limit, by=by)
        ImageOps.exif_transpose(image, in_place=True)
        return _rgb(image)


def _check_pixels(image: Image.Image, *, limit: int | None, by: str = PIXELS_VARIABLE) -> None:
    """Refuse a picture with more pixels than `by` allows, before they are decoded."""
    if limit is not None and image.width * image.height > limit:
        raise InputError(f"{image.width}x{image.height} pixels, but {by} allows {limit} in all")


@contextmanager
def _naming(name: str) -> Generator[None]:
    """Turn every error of Pillow into an `InputError` that begins with `name`; warnings are told with the name too."""
    try:
        with reading(name):
            yield
    except UnidentifiedImageError as error:
        missing = {*IMAGE_FORMATS}.difference(readable_formats())
        if FORMAT_OF_EXTENSION.get(Path(name).suffix.lower()) in missing:
            raise InputError(f"{name}: {_HOW_TO_READ[FORMAT_OF_EXTENSION[Path(name).suffix.lower()]]}") from error
        raise InputError(f"{name}: not an image of a known format ({', '.join(readable_formats())})") from error
    except Image.DecompressionBombError as error:
        reason = str(error).partition(",")[0]
        raise InputError(f"{name}: {reason}; set {PIXELS_VARIABLE} to read larger pictures") from error
    except InputError as error:
        raise InputError(f"{name}: {error}") from error
    except Exception as error:
        # Pillow's decoders raise whatever the bytes lead them to: OSError, SyntaxError, struct.error, IndexError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: cannot be read as an image ({reason})") from error


def find_format(path: Path) -> str | None:
    """Return Pillow's name of the format that a file begins with, without reading the pixels; None if it is no image.

    MPO means several JPEGs in one file, which some phones write; it counts as JPEG.
    """
    try:
        with reading(str(path)), Image.open(path, formats=readable_formats()) as image:
            return "JPEG" if image.format == "MPO" else image.format
    except Exception:
        return None


@cache
def readable_formats() -> tuple[str, ...]:
    """Return those of IMAGE_FORMATS that can be read here."""
    Image.init()
    with suppress(ModuleNotFoundError):
        import_module("pillow_heif").register_heif_opener()
    return tuple(name for name in IMAGE_FORMATS if name in Image.OPEN)


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        return Image.fromarray(_eight_bits(image)).convert("RGB")
    if "transparency" in image.info:
        # Converted straight to RGB, a palette with one alpha per colour makes Pillow warn.
        return image.convert("RGBA").convert("RGB")
    # An RGB image is not converted: the copy would take a twelfth of the time of decoding a JPEG.
    return image if image.mode == "RGB" else image.convert("RGB")


def _eight_bits(image: Image.Image) -> NDArray[np.uint8]:
    """Return deep grey pixels, brought to 8 bits.

    Pillow alone would clip them at 255, so that nearly every picture would be white or black. The rules are:
    16-bit pixels keep their high byte. 32-bit integers are read as 16-bit values (Pillow opens a 16-bit PGM in this
    way). Floating-point pixels are read as values from 0 to 1.

    Raises:
        ValueError: if the pixels do not lie in the range that the rule expects. Their true range is not known then.

    Shape:
        (H, W)
    """
    pixels = np.asarray(image)
    lowest, highest = pixels.min(), pixels.max()
    if image.mode == "F":
        if not (lowest >= 0 and highest <= 1):
            raise ValueError(f"floating-point pixels from {lowest:g} to {highest:g}; accepted are 0 to 1")
        return (255 * pixels).round().astype(np.uint8)
    # Pillow scales the pixels of every PGM to 16 bits. Elsewhere small numbers can be 8-bit values.
    is_ambiguous = image.mode == "I" and image.format != "PPM" and 0 < highest <= 255
    if lowest < 0 or highest > _SIXTEEN_BITS or is_ambiguous:
        raise ValueError(f"32-bit pixels from {lowest} to {highest}; accepted are 16-bit values, up to {_SIXTEEN_BITS}")
    return (pixels >> 8).astype(np.uint8)
