"""Segmentation: from maps of logits to the class of every pixel."""

from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Task
from parckit.processing.geometry import Geometry
from parckit.processing.mask_prediction import IGNORED, MaskPrediction
from parckit.processing.resizing import interpolate_in_bands

SEGMENT = "segment"
"""Name of the decoder of logits."""
CLASS_MAP = "class_map"
"""Name of the decoder of class numbers, for graphs with resizing and argmax inside."""
_STRIP_NUMBERS = 2**23
"""Numbers of all maps, interpolated along the width, that are in memory at once: 32 MB of float32."""


class SegmentDecoder:
    """Turns maps of logits into the class of every pixel of a picture.

    The logits are interpolated bilinearly at the pixels of the picture. If the picture has the size of the input, this
    is what `torch.nn.functional.interpolate` does with `align_corners=False`. If it is larger, borders of classes have
    no stairs. The class with the largest logit wins, of equal ones the first.

    Args:
        labels: class names by index.
    """

    task: ClassVar[Task] = "segment"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[MaskPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the logits alone.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if there are not as many maps as classes, or a number is not finite.

        Shape:
            outputs: one array, (B, classes, h, w)
        """
        logits = read_maps(outputs, classes=len(self._labels))
        pairs = zip(logits, geometries, strict=True)
        return [MaskPrediction(mask=classes_in_picture(maps, geometry), names=self._labels) for maps, geometry in pairs]


class ClassMapDecoder:
    """Brings maps of class numbers to the pictures.

    A pixel of the picture takes the class of the nearest pixel of the input. So borders of classes have stairs in
    pictures that are larger than the input.

    Args:
        labels: class names by index.
    """

    task: ClassVar[Task] = "segment"

    def __init__(self, labels: Sequence[str]) -> None:
        self._labels = tuple(labels)

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[MaskPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the class numbers alone.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if the output has another shape or type, or a number is that of no class.

        Shape:
            outputs: one array, (B, H, W) uint8, of the input's size
        """
        (classes,) = outputs
        if classes.ndim != 3 or classes.dtype != np.uint8:
            raise InputError(f"outputs of shape {classes.shape} and type {classes.dtype}: must be (B, H, W) uint8")
        if (largest := int(classes.max(initial=0))) >= len(self._labels):
            raise InputError(f"outputs: have the class number {largest}; the largest is {len(self._labels) - 1}")
        pairs = zip(classes.astype(np.uint8, copy=False), geometries, strict=True)
        masks = (geometry.mask_to_picture(numbers, outside=IGNORED) for numbers, geometry in pairs)
        return [MaskPrediction(mask=mask, names=self._labels) for mask in masks]


def read_maps(outputs: Sequence[NDArray[np.generic]], *, classes: int) -> NDArray[np.float32]:
    """Return the only output of a network that segments.

    Raises:
        InputError: if there are not as many maps as classes, or a number is not finite.

    Shape:
        outputs: one array, (B, classes, h, w) -> (B, classes, h, w)
    """
    (logits,) = outputs
    if logits.ndim != 4 or logits.shape[1] != classes or 0 in logits.shape[2:]:
        raise InputError(f"outputs of shape {logits.shape}: must be (B, {classes}, h, w), a map a class")
    if not np.isfinite(logits).all():
        raise InputError("the network's outputs are not finite numbers (nan or inf)")
    return logits.astype(np.float32, copy=False)


def classes_in_picture(maps: NDArray[np.float32], geometry: Geometry) -> NDArray[np.uint8]:
    """Return the class of every pixel of a picture; IGNORED where the input does not show the picture.

    Args:
        maps: logits of every class; together they cover the input.
        geometry: where the input lies in the picture.

    Shape:
        (classes, h, w) -> (H, W) of the picture
    """
    mask = np.full(geometry.picture_size, IGNORED, np.uint8)
    (rows, columns), (height, width) = geometry.places_in_input(), geometry.input_size
    visible_rows, visible_columns = _inside(rows, height), _inside(columns, width)
    best_classes(
        maps,
        rows=rows[visible_rows] * (maps.shape[1] / height),
        columns=columns[visible_columns] * (maps.shape[2] / width),
        out=mask[visible_rows, visible_columns],
    )
    return mask


def _inside(places: NDArray[np.float64], length: int) -> slice:
    """Return which of some ascending places lie inside an axis of a length."""
    first, last = np.searchsorted(places, [0, length]).tolist()
    return slice(first, last)


def best_classes(
    maps: NDArray[np.float32], *, rows: NDArray[np.float64], columns: NDArray[np.float64], out: NDArray[np.uint8]
) -> None:
    """Write the class with the largest interpolated value at every place of a grid; of equal ones, the first.

    Args:
        maps: a map for every class.
        rows: places along the height, as `parckit.processing.resizing` counts them.
        columns: places along the width.
        out: gets the classes.

    Shape:
        maps: (classes, h, w)
        out: (rows, columns)
    """
    step = max(1, _STRIP_NUMBERS // (maps.shape[0] * maps.shape[1]))
    for left in range(0, len(columns), step):
        strip = columns[left : left + step]
        for first, last, planes in interpolate_in_bands(maps, rows=rows, columns=strip):
            running_argmax(planes, out=out[first:last, left : left + len(strip)])


def running_argmax(planes: Iterable[NDArray[np.float32]], *, out: NDArray[np.uint8]) -> None:
    """Write the number of the plane with the largest value at every pixel; of equal ones, the first.

    It needs one plane at a time; all planes of a picture's size would not stay in the cache.

    Shape:
        planes: (H, W) each
        out: (H, W)
    """
    best = np.full(out.shape, -np.inf, np.float32)
    is_better = np.empty(out.shape, np.bool_)
    for number, plane in enumerate(planes):
        np.greater(plane, best, out=is_better)
        np.copyto(out, np.uint8(number), where=is_better)
        np.maximum(plane, best, out=best)
