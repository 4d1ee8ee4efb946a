"""The objects of all pictures of a source, in a few arrays."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from parckit.data.objects import Objects
from parckit.data.picture_table import PictureFiles
from parckit.data.segments import Segments, decode_segment
from parckit.data.turning import SWAPPING, turn_pixels


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

    files: PictureFiles
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
