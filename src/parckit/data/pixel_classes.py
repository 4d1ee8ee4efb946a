"""The ground truth of segmentation: the class of every pixel of a picture."""

from typing import NamedTuple

from torch import Tensor


class PixelClasses(NamedTuple):
    """The class of every pixel of one picture, twice.

    Attributes:
        in_input: for the pixels of the network's input; the loss needs them. `IGNORED` where there is padding.
        in_picture: for the pixels of the picture; the metric needs them. None in training.

    Shape:
        in_input: (H, W) uint8; class indices, or `parckit.processing.IGNORED`
        in_picture: (H, W) uint8
    """

    in_input: Tensor
    in_picture: Tensor | None = None
