"""The decoder of two-stage detectors, whose networks suppress boxes themselves and return detections."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Task
from parckit.processing.detect import BoxPrediction, best_boxes
from parckit.processing.geometry import Geometry
from parckit.processing.limits import check_count, check_share
from parckit.processing.masks import BoxMasks

DETECTIONS = "detections"
"""Name of the decoder."""


class DetectionsDecoder:
    """Brings the detections of one image to its picture.

    Args:
        labels: class names by index.
        threshold: only boxes with a larger score stay, from 0 to 1.
        most: most boxes in a picture.

    Raises:
        InputError: if a value is out of range.
    """

    task: ClassVar[Task] = "detect"

    def __init__(self, labels: Sequence[str], *, threshold: float = 0.3, most: int = 100) -> None:
        self._labels = tuple(labels)
        self._threshold = check_share("threshold", threshold, what="probability")
        self._most = check_count("most", most, of="boxes")

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[BoxPrediction]:
        """Return the boxes of the image, and their masks if the network gives masks.

        Args:
            outputs: boxes (left, top, right, bottom) in pixels of the input, scores, class indices, and from a network
                with masks the probabilities over every box.
            geometries: where the image lies in its picture; only one.

        Raises:
            InputError: if there are several images, the outputs have another shape or a number is not finite.

        Shape:
            outputs: (N, 4), (N,), (N,), and with masks (N, side, side)
        """
        if len(geometries) != 1:
            raise InputError(f"{len(geometries)} images: detections are of one image")
        self._check(outputs)
        boxes, scores, labels = outputs[0].astype(np.float32), outputs[1].astype(np.float32), outputs[2]
        (geometry,) = geometries
        keeps = scores > self._threshold
        boxes = boxes[keeps]
        masks = (
            BoxMasks(
                shares=outputs[3][keeps].astype(np.float32),
                boxes=geometry.boxes_to_picture(boxes, cut=False),
                picture_size=geometry.picture_size,
            )
            if len(outputs) > 3
            else None
        )
        in_picture, labels = geometry.boxes_to_picture(boxes), labels[keeps].astype(np.int64)
        return [best_boxes(in_picture, scores[keeps], labels, most=self._most, names=self._labels, masks=masks)]

    def _check(self, outputs: Sequence[NDArray[np.generic]]) -> None:
        shapes = [output.shape for output in outputs]
        count = len(outputs[0])
        wanted = [(count, 4), (count,), (count,)]
        masks = shapes[3:]
        has_masks = len(masks) == 1 and len(masks[0]) == 3 and masks[0][0] == count and masks[0][1] == masks[0][2]
        if shapes[:3] != wanted or (masks and not has_masks):
            raise InputError(f"outputs of shapes {shapes}: must be (N, 4), (N,), (N,), and with masks (N, side, side)")
        if not all(np.isfinite(output).all() for output in outputs):
            raise InputError("the network's outputs are not finite numbers (nan or inf)")
        labels = outputs[2]
        if count and not 0 <= labels.min() <= labels.max() < len(self._labels):
            raise InputError(f"labels from {labels.min()} to {labels.max()}: there are {len(self._labels)} classes")
