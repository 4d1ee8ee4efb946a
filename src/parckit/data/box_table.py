"""Pictures and their objects by index: the table that every source of boxes is opened as."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from parckit.data.faults import Fault
from parckit.data.objects import Objects
from parckit.data.segments import Segments, decode_segment
from parckit.data.targets import ObjectTargets
from parckit.data.turning import SWAPPING, turn_pixels
from parckit.processing import LeftOut, load_image


class BoxPictures(Protocol):
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
class BoxFiles:
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
class StoredBoxes:
    """The objects of all pictures in a few arrays, which loader workers share.

    Attributes:
        files: the pictures.
        starts: where the objects of every picture begin, and where the last ones end.
        boxes: (left, top, right, bottom), pixels of the upright picture.
        labels: class indices.
        crowd: whether nobody has to find an object; see `Objects`.
        segments: the masks before they are turned; None if they are not wanted.
        areas: pixels of the objects; None if the source does not give them.
        orientations: EXIF orientation by which the masks of a picture have to be turned.
    """

    files: BoxFiles
    starts: NDArray[np.int64]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]
    crowd: NDArray[np.bool_]
    segments: Segments | None
    areas: NDArray[np.float32] | None
    orientations: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int, /) -> Objects:
        """Return the objects of picture `index`."""
        index = range(len(self))[index]
        start, end = self.starts[index], self.starts[index + 1]
        return Objects(
            boxes=torch.tensor(self.boxes[start:end]),
            labels=torch.tensor(self.labels[start:end]),
            crowd=torch.tensor(self.crowd[start:end]),
            masks=None if self.segments is None else torch.tensor(self._masks(self.segments, index)),
            areas=None if self.areas is None else torch.tensor(self.areas[start:end]),
        )

    def count_objects(self, *, classes: int) -> NDArray[np.int64]:
        """Return the number of objects of every class, without those that nobody has to find."""
        return np.bincount(self.labels[~self.crowd], minlength=classes)

    def _masks(self, segments: Segments, index: int) -> NDArray[np.bool_]:
        width, height = self.files.size(index)
        orientation = int(self.orientations[index])
        if orientation in SWAPPING:
            width, height = height, width
        numbers = range(int(self.starts[index]), int(self.starts[index + 1]))
        masks = [decode_segment(segments[number], width=width, height=height) for number in numbers]
        stacked = np.stack(masks) if masks else np.zeros((0, height, width), dtype=np.bool_)
        # A tensor cannot have the negative strides of a mirrored array.
        return np.ascontiguousarray(turn_pixels(stacked, orientation=orientation))


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxTable:
    """Pictures and their objects.

    Attributes:
        labels: class names by index.
        served: which part of the source serves as the split.
        targets: the `Objects` of every picture.
        pictures: the pictures.
        faults: what is wrong with the source, and was dropped, cut or counted.
        left_out: nothing; what is wrong with files is in `faults`.
    """

    labels: tuple[str, ...]
    served: str
    targets: ObjectTargets
    pictures: BoxPictures
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
