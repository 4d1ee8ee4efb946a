"""The decoder of the small detector: from class logits and distances at points to boxes."""

from collections.abc import Sequence
from functools import lru_cache
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Task
from parckit.processing.boxes import Suppress
from parckit.processing.boxes import suppress as numpy_suppress
from parckit.processing.detect import BoxPrediction, BoxSelection
from parckit.processing.geometry import Geometry
from parckit.processing.limits import check_count

TINYDET = "tinydet"
"""Name of the decoder."""


@lru_cache(maxsize=64)
def map_points(rows: int, columns: int, stride: int) -> NDArray[np.float32]:
    """Return the centres of a map's positions, (x, y) in pixels of the input, row by row.

    Shape:
        (rows * columns, 2)
    """
    y, x = np.meshgrid(np.arange(rows) + 0.5, np.arange(columns) + 0.5, indexing="ij")
    points = (np.stack([x, y], axis=-1).reshape(-1, 2) * stride).astype(np.float32)
    points.setflags(write=False)  # all callers share it
    return points


class TinyDetDecoder:
    """Turns class logits and distances at the positions of some maps into boxes.

    Args:
        labels: class names by index.
        strides: pixels of the input per position, for every map.
        threshold: see `BoxSelection`.
        overlap: see `BoxSelection`.
        per_class: see `BoxSelection`.
        most: see `BoxSelection`.
        suppress: see `BoxSelection`.

    Raises:
        InputError: if a value is out of range.
    """

    task: ClassVar[Task] = "detect"

    def __init__(
        self,
        labels: Sequence[str],
        *,
        strides: Sequence[int],
        threshold: float = 0.3,
        overlap: float = 0.6,
        per_class: int = 200,
        most: int = 300,
        suppress: Suppress = numpy_suppress,
    ) -> None:
        self._labels = tuple(labels)
        self._strides = tuple(check_count("strides", stride, of="pixels") for stride in strides)
        self._selection = BoxSelection(
            threshold=threshold, overlap=overlap, per_class=per_class, most=most, suppress=suppress
        )

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[BoxPrediction]:
        """Return the boxes of every image.

        Args:
            outputs: the class logits of every map, then the distances of every map to the four sides of a box, before
                the softplus, in units of the map's stride.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if the outputs have another shape, or a number is not finite.

        Shape:
            outputs: (B, classes, H, W) for every map, then (B, 4, H, W) for every map
        """
        maps = len(self._strides)
        logits, distances = outputs[:maps], outputs[maps:]
        self._check(logits, distances)
        return [
            self._decode([one[image] for one in logits], [one[image] for one in distances], geometry)
            for image, geometry in enumerate(geometries)
        ]

    def _check(self, logits: Sequence[NDArray[np.generic]], distances: Sequence[NDArray[np.generic]]) -> None:
        shapes = [output.shape for output in (*logits, *distances)]
        fits = len(distances) == len(logits) == len(self._strides) and all(
            len(one.shape) == 4 and one.shape[1] == len(self._labels) and other.shape == (len(one), 4, *one.shape[2:])
            for one, other in zip(logits, distances, strict=True)
        )
        if not fits:
            wanted = f"(B, {len(self._labels)}, H, W) for {len(self._strides)} maps, then (B, 4, H, W) for each"
            raise InputError(f"outputs of shapes {shapes}: must be {wanted}")
        if not all(np.isfinite(output).all() for output in (*logits, *distances)):
            raise InputError("the network's outputs are not finite numbers (nan or inf)")

    def _decode(
        self, logits: Sequence[NDArray[np.generic]], distances: Sequence[NDArray[np.generic]], geometry: Geometry
    ) -> BoxPrediction:
        parts = [
            self._candidates(image, sides, stride=stride)
            for image, sides, stride in zip(logits, distances, self._strides, strict=True)
        ]
        scores, boxes = (np.concatenate(group) for group in zip(*parts, strict=True))
        return self._selection.answer(boxes, scores, geometry=geometry, names=self._labels)

    def _candidates(
        self, logits: NDArray[np.generic], distances: NDArray[np.generic], *, stride: int
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Return the scores and the boxes of the positions of a map with a score above the threshold.

        Shape:
            logits: (classes, H, W)
            distances: (4, H, W)
            returned: (N, classes), (N, 4)
        """
        points = map_points(*logits.shape[1:], stride)
        by_position = logits.reshape(len(logits), -1).T.astype(np.float32)
        # Beyond these limits the score is 0 or 1 in float32; exp would overflow.
        scores = 1 / (1 + np.exp(-by_position.clip(-80, 80)))
        candidates = self._selection.may_stay(scores)
        sides = distances.reshape(4, -1).T[candidates].astype(np.float32)
        # Softplus: the logarithm of 1 + exp(x), without overflow.
        sides = np.logaddexp(sides, 0) * stride
        x_y = points[candidates]
        return scores[candidates], np.concatenate([x_y - sides[:, :2], x_y + sides[:, 2:]], axis=1)
