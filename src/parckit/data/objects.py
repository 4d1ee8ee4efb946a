"""The ground truth of detection: the objects of a picture."""

from typing import NamedTuple

from torch import Tensor


class Objects(NamedTuple):
    """The objects of one picture.

    Attributes:
        boxes: (left, top, right, bottom), pixels.
        labels: class indices.
        crowd: objects that are not trained on, and that nobody has to find: crowds in COCO, difficult objects in VOC.
        masks: which pixels belong to the objects; None if they are not known or not wanted.
        areas: number of pixels of the objects, by which COCO calls them small, medium or large; None: of their boxes.

    Shape:
        boxes: (N, 4) float32
        labels: (N,) int64
        crowd: (N,) bool
        masks: (N, H, W) bool
        areas: (N,) float32
    """

    boxes: Tensor
    labels: Tensor
    crowd: Tensor
    masks: Tensor | None = None
    areas: Tensor | None = None

    def select(self, stays: Tensor) -> "Objects":
        """Return some of the objects; `stays`, (N,) bool, says which."""
        masks, areas = (None if column is None else column[stays] for column in (self.masks, self.areas))
        return Objects(self.boxes[stays], self.labels[stays], self.crowd[stays], masks, areas)


class Scene(NamedTuple):
    """The objects of one picture, twice.

    Attributes:
        objects: in pixels of the network's input; the loss needs them.
        in_picture: in pixels of the picture; the metric needs them. None in training.
    """

    objects: Objects
    in_picture: Objects | None = None
