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

    def masks_to_input(self, masks: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return masks of the input's size; each of their pixels takes the value of the nearest pixel of the picture.

        Pixels of the input that show padding are False.

        Raises:
            InputError: if the masks have another size than the picture.

        Shape:
            (N, H, W) of the picture -> (N, H, W) of the input
        """
        if masks.shape[1:] != self.picture_size:
            raise InputError(
                f"masks of shape {masks.shape}: must have the picture's (height, width) {self.picture_size}"
            )
        rows, columns = self._nearest()
        height, width = self.picture_size
        fitted = masks[:, rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
        fitted[:, (rows < 0) | (rows >= height), :] = False
        fitted[:, :, (columns < 0) | (columns >= width)] = False
        return fitted

    def mask_to_input(self, mask: NDArray[Scalar], *, outside: int) -> NDArray[Scalar]:
        """Return a mask of the input's size; each of its pixels takes the value of the nearest pixel of the picture.

        Args:
            mask: class numbers, one for each pixel of the picture.
            outside: value for pixels of the input that show padding.

        Raises:
            InputError: if the mask has another size than the picture.

        Shape:
            (H, W) of the picture -> (H, W) of the input
        """
        if mask.shape != self.picture_size:
            raise InputError(f"mask of shape {mask.shape}: must have the picture's (height, width) {self.picture_size}")
        rows, columns = self._nearest()
        height, width = mask.shape
        fitted = mask[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
        fitted[(rows < 0) | (rows >= height), :] = outside
        fitted[:, (columns < 0) | (columns >= width)] = outside
        return fitted

    def _nearest(self) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the rows and columns of the picture that lie under those of the input; some may lie outside."""
        rows, columns = (
            np.floor((np.arange(length) + 0.5 + offset) / scale).astype(np.int64)
            for length, scale, offset in zip(self.input_size, self.scale, self.offset, strict=True)
        )
        return rows, columns

    def mask_to_picture(self, mask: NDArray[Scalar], *, outside: int) -> NDArray[Scalar]:
        """Return a mask of the picture's size; each of its pixels takes the value of the nearest pixel of the input.

        Args:
            mask: class or instance numbers, one for each pixel of the input.
            outside: value for pixels of the picture that the input does not show, such as those beyond a centre crop.

        Raises:
            InputError: if the mask has another size than the input.

        Shape:
            (H, W) of the input -> (H, W) of the picture
        """
        if mask.shape != self.input_size:
            raise InputError(f"mask of shape {mask.shape}: must have the input's (height, width) {self.input_size}")
        rows, columns = (
            np.floor((np.arange(length) + 0.5) * scale - offset).astype(np.int64)
            for length, scale, offset in zip(self.picture_size, self.scale, self.offset, strict=True)
        )
        height, width = mask.shape
        whole = mask[rows.clip(0, height - 1)[:, None], columns.clip(0, width - 1)[None, :]]
        whole[(rows < 0) | (rows >= height), :] = outside
        whole[:, (columns < 0) | (columns >= width)] = outside
        return whole
