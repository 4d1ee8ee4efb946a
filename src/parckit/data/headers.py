"""Sizes of picture files without decoding them."""

from collections.abc import Sequence
from multiprocessing.pool import ThreadPool
from typing import NamedTuple

from PIL import ExifTags, Image

from parckit.contract import reading
from parckit.data.turning import SWAPPING, UPRIGHT
from parckit.processing import readable_formats

_THREADS = 8
"""Headers that are read at once. A disk or a network answers several requests faster than one after the other."""

_CHUNK = 64

_PNG_EXIF = {"exif", "Raw profile type exif", "XML:com.adobe.xmp", "xmp"}
"""Where Pillow finds the orientation of a PNG. If a PNG has none of them, Pillow decodes it to look further."""


class Header(NamedTuple):
    """What the header of a picture file says.

    Attributes:
        width: of the stored picture, pixels.
        height: of the stored picture, pixels.
        orientation: EXIF orientation; 1 is upright.
        problem: why the header cannot be read; `"missing"` if there is no such file. Empty if it can be read.
    """

    width: int = 0
    height: int = 0
    orientation: int = UPRIGHT
    problem: str = ""


def read_headers(paths: Sequence[str]) -> list[Header]:
    """Read the headers of picture files."""
    with ThreadPool(_THREADS) as pool:
        return pool.map(_read, paths, chunksize=_CHUNK)


def _read(path: str) -> Header:
    try:
        with reading(path), Image.open(path, formats=readable_formats()) as image:
            width, height = image.size
            has_exif = image.format != "PNG" or not _PNG_EXIF.isdisjoint(image.info)
            orientation = image.getexif().get(ExifTags.Base.Orientation, UPRIGHT) if has_exif else UPRIGHT
    except FileNotFoundError:
        return Header(problem="missing")
    except Exception as error:
        # Pillow's readers raise whatever the bytes lead them to.
        return Header(problem=(str(error) or type(error).__name__).splitlines()[0])
    is_known = orientation in SWAPPING or orientation in (2, 3, 4)
    return Header(width, height, int(orientation) if is_known else UPRIGHT)
