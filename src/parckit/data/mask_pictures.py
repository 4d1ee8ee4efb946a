"""Pairs a picture and its mask by their sizes, and leaves out pictures that cannot be used, as far as headers tell."""

from pathlib import Path
from typing import NamedTuple

from parckit.data.faults import Fault
from parckit.data.headers import Header, read_headers
from parckit.data.mask_records import MaskPair, MaskPairs
from parckit.data.turning import SWAPPING, UPRIGHT, upright_size


class FittingPair(NamedTuple):
    """A picture and a mask whose sizes fit together.

    Attributes:
        pair: the files.
        size: width and height of the upright picture.
        orientation: EXIF orientation by which the mask has to be turned.
        fault: what may be wrong with the pair all the same.
    """

    pair: MaskPair
    size: tuple[int, int]
    orientation: int
    fault: Fault | None = None


def fit_pairs(pairs: MaskPairs) -> tuple[list[FittingPair], list[Fault]]:
    """Return the pictures that fit together with their masks, and what is wrong with the source otherwise."""
    headers = read_headers([path for pair in pairs.pairs for path in (pair.picture, pair.mask)])
    results = [
        _fit(pair, picture, mask) for pair, picture, mask in zip(pairs.pairs, headers[::2], headers[1::2], strict=True)
    ]
    fitting = [result for result in results if isinstance(result, FittingPair)]
    return fitting, [*pairs.faults, *(result for result in results if isinstance(result, Fault))]


def _fit(pair: MaskPair, picture: Header, mask: Header) -> FittingPair | Fault:
    """Return how the sizes of a picture and its mask fit together, or why the picture is left out."""
    if picture.problem or mask.problem:
        return _unreadable(pair, picture, mask)
    stored, turn = (picture.width, picture.height), picture.orientation
    shown = upright_size(*stored, orientation=turn)
    size = upright_size(mask.width, mask.height, orientation=mask.orientation)
    orientation = _mask_orientation(size, picture=stored, orientation=turn)
    if orientation is None:
        detail = f"{size[0]}x{size[1]} pixels, but its picture has {shown[0]}x{shown[1]}"
        return Fault("wrong size", pair.mask, detail)
    # The sizes tell on which picture the mask was drawn, or the mask has a tag itself.
    is_clear = turn == UPRIGHT or mask.orientation != UPRIGHT or (turn in SWAPPING and stored[0] != stored[1])
    if is_clear:
        return FittingPair(pair, shown, orientation)
    detail = f"its picture has EXIF orientation {turn}; the mask is taken as drawn on the upright picture"
    return FittingPair(pair, shown, UPRIGHT, Fault("unclear turn", pair.mask, detail))


def _unreadable(pair: MaskPair, picture: Header, mask: Header) -> Fault:
    """Return the fault of a pair of which one header cannot be read."""
    if picture.problem == "missing":
        return Fault("missing picture", pair.picture, "no such file")
    if picture.problem:
        return Fault("broken picture", pair.picture, picture.problem)
    if mask.problem == "missing":
        return Fault("missing mask", pair.mask, f"belongs to {Path(pair.picture).name}, but there is no such file")
    return Fault("broken mask", pair.mask, mask.problem)


def _mask_orientation(mask: tuple[int, int], *, picture: tuple[int, int], orientation: int) -> int | None:
    """Return by which EXIF orientation a mask has to be turned; None if its size fits in no way.

    Args:
        mask: width and height of the upright mask.
        picture: width and height of the stored picture.
        orientation: EXIF orientation of the picture.
    """
    upright = picture[::-1] if orientation in SWAPPING else picture
    if mask == upright:
        return 1
    return orientation if mask == picture else None
