"""Decoding: any picture that a user may have becomes an upright RGB image, or an error that names it."""

from io import BytesIO
from pathlib import Path

from PIL import Image, ImageOps, UnidentifiedImageError

from parckit.contract import InputError

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
}
"""File endings, lower case, and Pillow's names of the formats that they promise; decoding goes by the bytes alone."""

IMAGE_EXTENSIONS = tuple(FORMAT_OF_EXTENSION)
"""File endings, lower case, that count as images in folders and shards."""

IMAGE_FORMATS = tuple(dict.fromkeys(FORMAT_OF_EXTENSION.values()))
"""The only decoders tried: Pillow knows others (EPS) that would start programs on a stranger's file."""


def load_image(path: str | Path) -> Image.Image:
    """Read an image file as RGB, turned upright by its EXIF tag.

    Alpha is dropped, palettes are looked up, and 16-bit grey keeps its high byte (Pillow alone would clip it).

    Raises:
        InputError: if the file is missing or cannot be decoded; names the path.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: no such image file")
    return _decode(path, name=str(path))


def list_images(folder: Path) -> list[Path]:
    """Return the image files of a folder and of all folders in it, sorted; whether they are whole is not tried.

    Raises:
        InputError: if there is no such folder, or no image in it.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder")
    found = sorted(path for path in folder.rglob("*") if path.suffix.lower() in IMAGE_EXTENSIONS and path.is_file())
    if not found:
        raise InputError(f"{folder}: holds no images; accepted endings are {', '.join(IMAGE_EXTENSIONS)}")
    return found


def decode_image(data: bytes, *, name: str) -> Image.Image:
    """Decode an image held in memory as `load_image` does; `name` is what an error calls it.

    Raises:
        InputError: if the bytes cannot be decoded; begins with `name`.
    """
    return _decode(BytesIO(data), name=name)


def _decode(source: Path | BytesIO, *, name: str) -> Image.Image:
    try:
        with Image.open(source, formats=IMAGE_FORMATS) as image:
            ImageOps.exif_transpose(image, in_place=True)
            return _rgb(image)
    except UnidentifiedImageError as error:
        raise InputError(f"{name}: not an image of a known format ({', '.join(IMAGE_FORMATS)})") from error
    except Exception as error:
        # Pillow's decoders raise whatever the bytes lead them to: OSError, SyntaxError, struct.error, IndexError, ...
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{name}: cannot be read as an image ({reason})") from error


def _rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I;16"):
        return image.point(lambda value: value / 256, "L").convert("RGB")
    if "transparency" in image.info:
        # Straight to RGB, Pillow warns for palettes with one alpha per colour.
        return image.convert("RGBA").convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")  # convert would copy: a twelfth of decoding a JPEG
