"""The class of every pixel of all pictures of a source: stored in masks, or painted from objects."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.pool import ThreadPool
from typing import cast, final

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError
from parckit.data.datasets import OnError, skippable
from parckit.data.faults import CONSEQUENCES, Fault, OnMaskFault, refusal
from parckit.data.mask_coding import MaskCoding, ReadMask, read_mask
from parckit.data.picture_table import Pictures
from parckit.data.targets import ObjectTargets
from parckit.data.turning import turn_pixels
from parckit.processing import IGNORED

_THREADS = 8
_MOST_TOLD = 3
"""Masks with a fault that every process tells of. `parckit data check` tells of all."""

_log = logging.getLogger(__name__)


@final
class StoredMasks:
    """The masks of all pictures, read when they are asked for.

    Attributes:
        paths: path of every mask, as bytes in one array.
        sizes: width and height of the upright pictures.
    """

    def __init__(
        self,
        paths: Sequence[str],
        *,
        sizes: NDArray[np.int64],
        orientations: NDArray[np.int64],
        coding: MaskCoding,
        on_mask_fault: OnMaskFault = "drop",
    ) -> None:
        self.paths = np.array([os.fsencode(path) for path in paths])
        self.sizes = sizes
        self._orientations = orientations
        self._coding = coding
        self._on_mask_fault: OnMaskFault = on_mask_fault
        self._told: set[int] = set()

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """Return the classes of picture `index`. Faults of its pixels are told or refused.

        Raises:
            InputError: if the mask is broken or has another size than its picture.
            RefusedFaultError: if faults are refused, and the mask has pixels of no class or no pixel that counts.
        """
        index = range(len(self))[index]
        mask = self.read(index)
        self._tell(mask.faults, index)
        return mask.classes

    def name(self, index: int) -> str:
        """Return the path of mask `index`."""
        return os.fsdecode(cast("bytes", self.paths[index]))

    def read(self, index: int) -> ReadMask:
        """Return the classes of picture `index`, and what is wrong with its mask.

        Raises:
            InputError: if the mask is broken, or has another size than its picture.
        """
        mask = read_mask(self.name(index), self._coding)
        orientation = int(self._orientations[index])
        classes = np.ascontiguousarray(turn_pixels(mask.classes, orientation=orientation))
        width, height = self.sizes[index].tolist()
        if classes.shape != (height, width):
            size = f"{classes.shape[1]}x{classes.shape[0]} pixels"
            raise InputError(f"{self.name(index)}: has {size}, but its picture has {width}x{height}")
        return ReadMask(classes, mask.faults)

    def count_pixels(self, *, classes: int, on_error: OnError) -> NDArray[np.int64]:
        """Return the number of pixels of every class. It reads all masks.

        Args:
            classes: number of classes.
            on_error: `"raise"` stops at a broken mask; `"skip"` counts nothing of it.

        Raises:
            InputError: as `__getitem__`; a broken mask is skipped if `on_error` says so.
        """

        def count(index: int) -> NDArray[np.int64]:
            try:
                mask = self.read(index)
            except InputError as error:
                if on_error == "raise":
                    raise skippable(str(error)) from error
                return np.zeros(classes, dtype=np.int64)
            self._tell(mask.faults, index)
            return _count(mask.classes, classes=classes)

        total = np.zeros(classes, dtype=np.int64)
        with ThreadPool(_THREADS) as pool:
            for counts in pool.imap_unordered(count, range(len(self)), chunksize=16):
                total += counts
        return total

    def _tell(self, faults: Sequence[Fault], index: int) -> None:
        """Refuse the faults of a mask, or warn of them once; of the first few masks only, as there may be thousands."""
        if not faults:
            return
        if self._on_mask_fault == "raise":
            raise refusal(faults[0], option="on_mask_fault")
        if index in self._told or len(self._told) >= _MOST_TOLD:
            return
        self._told.add(index)
        last = "; more masks may have such faults, parckit data check --task segment counts them"
        more = last if len(self._told) == _MOST_TOLD else ""
        described = "; ".join(f"{fault.kind}: {fault.detail}; {CONSEQUENCES[fault.kind]}" for fault in faults)
        _log.warning("%s: %s%s", faults[0].file, described, more)


@dataclass(frozen=True, kw_only=True, slots=True)
class PaintedObjects:
    """The class of every pixel, painted from the masks of objects.

    Larger objects are painted first, so that small ones in front of them stay visible. Crowds, and the boxes of objects
    whose masks are broken, are ignored where no other object is. Every other pixel is background.

    Attributes:
        objects: the objects, with masks.
        pictures: the pictures; their sizes are needed.
        numbers: the class of the objects of every label.
        background: the class of all other pixels.
    """

    objects: ObjectTargets
    pictures: Pictures
    numbers: NDArray[np.uint8]
    background: int = 0

    def __len__(self) -> int:
        return len(self.objects)

    def __getitem__(self, index: int, /) -> NDArray[np.uint8]:
        """Return the classes of picture `index`."""
        objects = self.objects[index]
        width, height = self.pictures.size(index)
        classes = np.full((height, width), self.background, dtype=np.uint8)
        if objects.masks is None:
            return classes
        masks, crowd = objects.masks.numpy(), objects.crowd.numpy()
        values = np.where(crowd, IGNORED, self.numbers[objects.labels.numpy()])
        areas = masks.sum((1, 2))
        for number in np.lexsort((-areas, ~crowd)).tolist():
            classes[masks[number]] = values[number]
        return classes

    def count_pixels(self, *, classes: int, on_error: OnError) -> NDArray[np.int64]:
        """Return the number of pixels of every class. It paints all masks, none of which is broken."""
        del on_error
        total = np.zeros(classes, dtype=np.int64)
        for index in range(len(self)):
            total += _count(self[index], classes=classes)
        return total


def _count(mask: NDArray[np.uint8], *, classes: int) -> NDArray[np.int64]:
    return np.bincount(mask.ravel(), minlength=IGNORED + 1)[:classes]
