"""From the file of a mask to the class of every pixel: numbers, palettes, or colours of a class table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from parckit.contract import InputError, reading
from parckit.data.mask_faults import MaskFault
from parckit.processing import IGNORED, readable_formats

Colour = tuple[int, int, int]

UNKNOWN = -1
"""In place of a class: a value or a colour that the class table does not have."""

_VALUES = 256
"""Number of values that a mask may have. The entry after them stands for all larger ones."""

_SHIFTS = (65536, 256, 1)
"""Factors that make one number of red, green and blue."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskCoding:
    """What the pixels of the masks of a source mean.

    Attributes:
        numbers: class of every pixel value; `IGNORED` or `UNKNOWN` where it stands for no class. The last entry is for
            all values above 255.
        colours: colours as numbers, ascending; empty if there is no table of colours.
        colour_classes: class of every colour, or `IGNORED`.
        by_colour: whether a palette says which class its numbers mean. Otherwise the numbers are classes.

    Shape:
        numbers: (257,)
        colours, colour_classes: (K,)
    """

    numbers: NDArray[np.int16]
    colours: NDArray[np.int32]
    colour_classes: NDArray[np.int16]
    by_colour: bool = False


class ReadMask(NamedTuple):
    """A mask after reading.

    Attributes:
        classes: the class of every pixel; `IGNORED` where it is void or unknown.
        fault: what is wrong with its pixels.

    Shape:
        classes: (H, W)
    """

    classes: NDArray[np.uint8]
    fault: MaskFault | None = None


def make_coding(
    numbers: Mapping[int, int], *, colours: Sequence[tuple[Colour, int]] = (), by_colour: bool = False
) -> MaskCoding:
    """Return a coding.

    Args:
        numbers: pixel value -> class, or `IGNORED`; 255 is always ignored unless it is given here.
        colours: colour, class.
        by_colour: whether colours count where a file has a palette.
    """
    table = np.full(_VALUES + 1, UNKNOWN, dtype=np.int16)
    table[IGNORED] = IGNORED
    for value, number in numbers.items():
        table[value] = number
    pairs = sorted((int(np.dot(colour, _SHIFTS)), number) for colour, number in colours)
    return MaskCoding(
        numbers=table,
        colours=np.array([key for key, _ in pairs], dtype=np.int32),
        colour_classes=np.array([number for _, number in pairs], dtype=np.int16),
        by_colour=by_colour,
    )


def read_mask(path: str, coding: MaskCoding) -> ReadMask:
    """Read the file of a mask. It is turned upright if it has an EXIF tag itself.

    Raises:
        InputError: if the file cannot be decoded, or has colours and there is no table of colours.
    """
    pixels = _open(path, coding)
    if pixels.ndim == 2:
        # Values that no byte has all mean the last entry.
        is_byte = pixels.dtype == np.uint8
        classes = coding.numbers[pixels if is_byte else np.where((pixels < 0) | (pixels >= _VALUES), _VALUES, pixels)]
    else:
        keys = _keys(pixels)
        places = np.searchsorted(coding.colours, keys).clip(max=len(coding.colours) - 1)
        classes = np.where(coding.colours[places] == keys, coding.colour_classes[places], np.int16(UNKNOWN))
        pixels = keys
    is_unknown = classes < 0
    if not is_unknown.any():
        return ReadMask(classes.astype(np.uint8))
    classes[is_unknown] = IGNORED
    return ReadMask(classes.astype(np.uint8), _fault(path, pixels[is_unknown], total=pixels.size, coding=coding))


def _open(path: str, coding: MaskCoding) -> NDArray[np.integer]:
    """Return the stored numbers, (H, W), or colours, (H, W, 3)."""
    try:
        with reading(path), Image.open(path, formats=readable_formats()) as image:
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode == "1":
                return np.asarray(image).astype(np.uint8)
            has_numbers = image.mode in ("L", "LA") or image.mode.startswith("I")
            if has_numbers or (image.mode in ("P", "PA") and not coding.by_colour):
                # The other channel is transparency.
                return np.asarray(image.getchannel(0) if image.mode in ("LA", "PA") else image)
            return _colours(np.asarray(image.convert("RGB")), path=path, coding=coding)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask") from error
    except Exception as error:
        # Pillow's decoders raise whatever the bytes lead them to.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a mask ({reason})") from error


def _colours(pixels: NDArray[np.uint8], *, path: str, coding: MaskCoding) -> NDArray[np.integer]:
    """Return the colours, or one number for every pixel: some tools write it three times, as red, green and blue."""
    is_grey = (pixels == pixels[..., :1]).all()
    if len(coding.colours):
        are_numbers = is_grey and not coding.by_colour and not np.isin(_keys(pixels), coding.colours).all()
        return pixels[..., 0] if are_numbers else pixels
    if is_grey:
        return pixels[..., 0]
    raise InputError(f"{path}: has colours, but no class table says what they mean; write class_dict.csv (name,r,g,b)")


def _keys(pixels: NDArray[np.integer]) -> NDArray[np.int32]:
    """Return red, green and blue as one number."""
    return pixels @ np.array(_SHIFTS, dtype=np.int32)


def _fault(path: str, unknown: NDArray[np.integer], *, total: int, coding: MaskCoding) -> MaskFault:
    """Return a fault that counts the unknown pixels and names the most frequent value."""
    values, counts = np.unique(unknown, return_counts=True)
    most = int(values[counts.argmax()])
    is_colour = unknown.dtype == np.int32 and len(coding.colours) > 0
    shown = str(tuple(most // shift % 256 for shift in _SHIFTS)) if is_colour else str(most)
    share = f"{len(unknown)} pixels ({len(unknown) / total:.1%})"
    if is_colour:
        return MaskFault("unknown colour", path, f"{share} have {len(values)} colours of no class, such as {shown}")
    return MaskFault("unknown value", path, f"{share} have {len(values)} values of no class, such as {shown}")
