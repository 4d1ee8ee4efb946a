"""From the file of a mask to the class of every pixel: numbers, palettes, or colours of a class table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFile, ImageOps

from parckit.contract import InputError, reading
from parckit.data.faults import Fault
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
        by_colour: whether the colours in a palette, and the black and white of masks of one bit, say which classes are
            meant. Otherwise their numbers do.

    Shape:
        numbers: (257,)
        colours, colour_classes: (K,)
    """

    numbers: NDArray[np.int16]
    colours: NDArray[np.int32]
    colour_classes: NDArray[np.int16]
    by_colour: bool = False


class NoColourTableError(InputError):
    """A mask has colours, and no class table says what they mean."""


class ReadMask(NamedTuple):
    """A mask after reading.

    Attributes:
        classes: the class of every pixel; `IGNORED` where it is void or unknown.
        faults: what is wrong with its pixels.

    Shape:
        classes: (H, W)
    """

    classes: NDArray[np.uint8]
    faults: tuple[Fault, ...] = ()


class _Pixels(NamedTuple):
    """The pixels of a mask as its file has them.

    Attributes:
        values: numbers, or red, green and blue as one number.
        are_colours: whether they are colours.

    Shape:
        values: (H, W)
    """

    values: NDArray[np.integer]
    are_colours: bool


def make_coding(
    numbers: Mapping[int, int], *, colours: Sequence[tuple[Colour, int]] = (), by_colour: bool = False
) -> MaskCoding:
    """Return a coding.

    Args:
        numbers: pixel value -> class, or `IGNORED`; 255 is always ignored unless it is given here.
        colours: colour, class.
        by_colour: whether colours count where a file has a palette, or one bit for every pixel.
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
        InputError: if the file cannot be decoded.
        NoColourTableError: if it has colours and there is no table of colours.
    """
    pixels = _open(path, coding)
    classes = (_from_colours if pixels.are_colours else _from_numbers)(pixels.values, coding)
    faults: list[Fault] = []
    is_unknown = classes < 0
    if is_unknown.any():
        faults.append(_unknown(path, pixels, is_unknown))
        classes[is_unknown] = IGNORED
    if (classes == IGNORED).all():
        faults.append(Fault("all void", path, "no pixel has a class"))
    return ReadMask(classes.astype(np.uint8), tuple(faults))


def _from_numbers(numbers: NDArray[np.integer], coding: MaskCoding) -> NDArray[np.int16]:
    if numbers.dtype != np.uint8:
        # Values that no byte has all mean the last entry.
        numbers = np.where((numbers < 0) | (numbers >= _VALUES), _VALUES, numbers)
    return coding.numbers[numbers]


def _from_colours(colours: NDArray[np.integer], coding: MaskCoding) -> NDArray[np.int16]:
    places = np.searchsorted(coding.colours, colours).clip(max=len(coding.colours) - 1)
    return np.where(coding.colours[places] == colours, coding.colour_classes[places], np.int16(UNKNOWN))


def _open(path: str, coding: MaskCoding) -> _Pixels:
    try:
        with reading(path), Image.open(path, formats=readable_formats()) as image:
            _check_depth(image, path=path)
            ImageOps.exif_transpose(image, in_place=True)
            if image.mode in ("L", "LA") or image.mode.startswith("I"):
                return _Pixels(_first_channel(image), are_colours=False)
            if image.mode in ("1", "P", "PA") and not coding.by_colour:
                return _Pixels(_first_channel(image), are_colours=False)
            return _colours(np.asarray(image.convert("RGB")), path=path, coding=coding)
    except InputError:
        raise
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such mask") from error
    except Exception as error:
        # Pillow's decoders raise whatever the bytes lead them to.
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise InputError(f"{path}: cannot be read as a mask ({reason})") from error


def _check_depth(image: ImageFile.ImageFile, *, path: str) -> None:
    """Refuse colours of 16 bits. Pillow reads their upper 8 bits, and only the raw mode of the file shows it.

    Raises:
        InputError: if the colours have 16 bits.
    """
    if any(";16" in str(tile.args) and "RGB" in str(tile.args) for tile in image.tile):
        raise InputError(f"{path}: its colours have 16 bits; save the mask with 8 bits, or with one channel of 16 bits")


def _first_channel(image: Image.Image) -> NDArray[np.integer]:
    """Return the numbers of a mask. A second channel is transparency, and pixels of one bit are 0 and 1."""
    numbers = np.asarray(image.getchannel(0) if image.mode in ("LA", "PA") else image)
    return numbers.astype(np.uint8) if numbers.dtype == np.bool_ else numbers


def _colours(pixels: NDArray[np.uint8], *, path: str, coding: MaskCoding) -> _Pixels:
    """Return the colours, or one number for every pixel: some tools write it three times, as red, green and blue."""
    keys = pixels @ np.array(_SHIFTS, dtype=np.int32)
    is_grey = bool((pixels == pixels[..., :1]).all())
    if len(coding.colours):
        are_numbers = is_grey and not coding.by_colour and not np.isin(keys, coding.colours).all()
    elif is_grey:
        are_numbers = True
    else:
        raise NoColourTableError(
            f"{path}: has colours, but no class table says what they mean; write class_dict.csv (name,r,g,b)"
        )
    return _Pixels(pixels[..., 0], are_colours=False) if are_numbers else _Pixels(keys, are_colours=True)


def _unknown(path: str, pixels: _Pixels, is_unknown: NDArray[np.bool_]) -> Fault:
    """Return a fault that counts the unknown pixels and names the most frequent value."""
    unknown = pixels.values[is_unknown]
    values, counts = np.unique(unknown, return_counts=True)
    most = int(values[counts.argmax()])
    share = f"{len(unknown)} pixels ({len(unknown) / is_unknown.size:.1%})"
    if pixels.are_colours:
        colour = tuple(most // shift % 256 for shift in _SHIFTS)
        return Fault("unknown colour", path, f"{share} have {len(values)} colours of no class, such as {colour}")
    return Fault("unknown value", path, f"{share} have {len(values)} values of no class, such as {most}")
