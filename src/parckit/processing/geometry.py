"""Where the pixels of a network's input lie in the picture that it was made of."""

from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError

Scalar = TypeVar("Scalar", bound=np.generic)


class Geometry(NamedTuple):
    """How a picture was fitted to a network's input, and the way back.

    A point of the upright picture at (y, x), in pixels from its upper left corner, lies in the input at
    `y * scale[0] - offset[0]`, `x * scale[1] - offset[1]`.

    Attributes:
        picture_size: (height, width) of the upright picture, pixels.
        input_size: (height, width) of the input, pixels.
        scale: pixels of the input per pixel of the picture, (along the height, along the width).
        offset: pixels that were cut off at the (top, left); negative where padding was added.
    """

    picture_size: tuple[int, int]
    input_size: tuple[int, int]
    scale: tuple[float, float]
    offset: tuple[float, float]

    def boxes_to_picture(self, boxes: NDArray[np.floating], *, cut: bool = True) -> NDArray[np.float32]:
        """Return boxes in pixels of the picture.

        Args:
            boxes: (left, top, right, bottom) in pixels of the input.
            cut: cut them at the picture's borders.

        Shape:
            (N, 4) -> (N, 4)
        """
        (scale_y, scale_x), (offset_y, offset_x) = self.scale, self.offset
        height, width = self.picture_size
        shift = np.array([offset_x, offset_y, offset_x, offset_y])
        moved = (boxes.reshape(-1, 4) + shift) / [scale_x, scale_y, scale_x, scale_y]
        return (moved.clip(0, [width, height, width, height]) if cut else moved).astype(np.float32)

    def boxes_to_input(self, boxes: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return boxes in pixels of the input. They are not cut at its borders.

        Args:
            boxes: (left, top, right, bottom) in pixels of the picture.

        Shape:
            (N, 4) -> (N, 4)
        """
        (scale_y, scale_x), (offset_y, offset_x) = self.scale, self.offset
        moved = boxes.reshape(-1, 4) * [scale_x, scale_y, scale_x, scale_y] - [offset_x, offset_y, offset_x, offset_y]
        return moved.astype(np.float32)

    def places_in_input(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the middles of the picture's rows and columns lie in the input; some may lie outside.

        Returns:
            Pixels of the input, from its upper and from its left border, ascending.

        Shape:
            (H,), (W,) of the picture
        """
        rows, columns = (
            (np.arange(length, dtype=np.float64) + 0.5) * scale - offset
            for length, scale, offset in zip(self.picture_size, self.scale, self.offset, strict=True)
        )
        return rows, columns

    def places_in_picture(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Return where the middles of the input's rows and columns lie in the picture; some may lie outside.

        Returns:
            Pixels of the picture, from its upper and from its left border, ascending.

        Shape:
            (H,), (W,) of the input
        """
        rows, columns = (
            (np.arange(length, dtype=np.float64) + 0.5 + offset) / scale
            for length, scale, offset in zip(self.input_size, self.scale, self.offset, strict=True)
        )
        return rows, columns

    def mask_to_input(self, mask: NDArray[Scalar], *, outside: int) -> NDArray[Scalar]:
        """Return masks of the input's size; each of their pixels takes the value of the nearest pixel of the picture.

        Args:
            mask: one mask, or several, with a value for each pixel of the picture, such as the number of a class.
            outside: value for pixels of the input that show padding.

        Raises:
            InputError: if the mask has another size than the picture.

        Shape:
            (..., H, W) of the picture -> (..., H, W) of the input
        """
        if mask.shape[-2:] != self.picture_size:
            raise InputError(f"mask of shape {mask.shape}: must have the picture's (height, width) {self.picture_size}")
        return _nearest(mask, *self.places_in_picture(), outside=outside)

    def mask_to_picture(self, mask: NDArray[Scalar], *, outside: int) -> NDArray[Scalar]:
        """Return masks of the picture's size; each of their pixels takes the value of the nearest pixel of the input.

        Args:
            mask: one mask, or several, with a value for each pixel of the input.
            outside: value for pixels of the picture that the input does not show, such as those beyond a centre crop.

        Raises:
            InputError: if the mask has another size than the input.

        Shape:
            (..., H, W) of the input -> (..., H, W) of the picture
        """
        if mask.shape[-2:] != self.input_size:
            raise InputError(f"mask of shape {mask.shape}: must have the input's (height, width) {self.input_size}")
        return _nearest(mask, *self.places_in_input(), outside=outside)


def _nearest(
    masks: NDArray[Scalar], rows: NDArray[np.float64], columns: NDArray[np.float64], *, outside: int
) -> NDArray[Scalar]:
    """Return the values of masks at a grid of places, in pixels from their upper and left borders.

    Shape:
        (..., H, W), (rows,), (columns,) -> (..., rows, columns)
    """
    height, width = masks.shape[-2:]
    down, across = np.floor(rows).astype(np.int64), np.floor(columns).astype(np.int64)
    values = masks[..., down.clip(0, height - 1)[:, None], across.clip(0, width - 1)[None, :]]
    values[..., (down < 0) | (down >= height), :] = outside
    values[..., (across < 0) | (across >= width)] = outside
    return values
