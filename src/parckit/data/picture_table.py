"""Pictures and their targets, by index: the table that every source of boxes or masks is opened as."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Protocol, TypeVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.data.faults import Fault
from parckit.data.targets import ObjectTargets, PixelTargets
from parckit.processing import LeftOut, load_image

Targets_co = TypeVar("Targets_co", bound=ObjectTargets | PixelTargets, covariant=True)


class Pictures(Protocol):
    """The pictures of a table, by index."""

    def name(self, index: int) -> str:
        """Return what errors call a picture."""
        ...

    def file_name(self, index: int) -> str:
        """Return a name for the file of a picture."""
        ...

    def size(self, index: int) -> tuple[int, int]:
        """Return width and height of a picture after turning it upright."""
        ...

    def load(self, index: int) -> Image.Image:
        """Decode a picture to upright RGB."""
        ...


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureFiles:
    """Picture files and their sizes.

    Attributes:
        paths: path of every picture, as bytes in one array.
        sizes: width and height of the upright pictures.
    """

    paths: NDArray[np.bytes_]
    sizes: NDArray[np.int64]

    def name(self, index: int) -> str:
        """Return the path of picture `index`."""
        return os.fsdecode(cast("bytes", self.paths[index]))

    def file_name(self, index: int) -> str:
        """Return the name of the file of picture `index`."""
        return Path(self.name(index)).name

    def size(self, index: int) -> tuple[int, int]:
        """Return width and height of picture `index` after turning it upright."""
        width, height = self.sizes[index].tolist()
        return width, height

    def load(self, index: int) -> Image.Image:
        """Decode picture `index`; see `load_image`."""
        return load_image(self.name(index))


@dataclass(frozen=True, kw_only=True, slots=True)
class PictureTable(Generic[Targets_co]):
    """Pictures and their targets.

    Attributes:
        labels: class names by index.
        served: which part of the source serves as the split.
        targets: the objects of every picture, or the class of every pixel, in pixels of the upright picture.
        pictures: the pictures.
        faults: what is wrong with the source as far as files of labels, file names and headers tell.
        left_out: what the source holds and does not read.
    """

    labels: tuple[str, ...]
    served: str
    targets: Targets_co
    pictures: Pictures
    faults: tuple[Fault, ...] = ()
    left_out: tuple[LeftOut, ...] = ()

    def name(self, index: int) -> str:
        """Return the path of picture `index`, or what else errors call it."""
        return self.pictures.name(index)

    def size(self, index: int) -> tuple[int, int]:
        """Return width and height of picture `index` after turning it upright."""
        return self.pictures.size(index)

    def load(self, index: int) -> Image.Image:
        """Decode picture `index` to upright RGB."""
        return self.pictures.load(index)


BoxTable = PictureTable[ObjectTargets]
"""Pictures and their objects."""

MaskTable = PictureTable[PixelTargets]
"""Pictures and the class of every pixel."""
