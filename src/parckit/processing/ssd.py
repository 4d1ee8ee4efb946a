"""The decoder of SSD: from class logits and offsets to boxes (arXiv:1512.02325)."""

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Task
from parckit.processing.boxes import Suppress
from parckit.processing.boxes import suppress as numpy_suppress
from parckit.processing.classify import probabilities
from parckit.processing.detect import BoxPrediction, BoxSelection
from parckit.processing.geometry import Geometry
from parckit.processing.priors import PriorSettings, decode_offsets

SSD = "ssd"
"""Name of the decoder."""

BACKGROUND = 0
"""Index of "no object" among SSD's classes. The network's class number c has the index c + 1."""

_ROUNDING = 1e-3
"""Far more than the rounding of a difference of logits in float32."""


class SsdDecoder:
    """Turns SSD's outputs into boxes.

    Args:
        labels: class names by index, without the background.
        strides: see `PriorSettings`.
        scales: see `PriorSettings`.
        ratios: see `PriorSettings`.
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
        scales: Sequence[float],
        ratios: Sequence[Sequence[float]],
        threshold: float = 0.3,
        overlap: float = 0.5,
        per_class: int = 200,
        most: int = 300,
        suppress: Suppress = numpy_suppress,
    ) -> None:
        self._labels = tuple(labels)
        self._priors = PriorSettings(strides=strides, scales=scales, ratios=ratios)
        self._selection = BoxSelection(
            threshold=threshold, overlap=overlap, per_class=per_class, most=most, suppress=suppress
        )

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[BoxPrediction]:
        """Return the boxes of every image.

        Args:
            outputs: class logits, the background first, and offsets from the priors.
            geometries: where the images lie in their pictures, one each.

        Raises:
            InputError: if the outputs have another shape, or a number is not finite.

        Shape:
            outputs: (B, priors, classes + 1) and (B, priors, 4)
        """
        if len(outputs) != 2 or any(output.ndim != 3 for output in outputs):
            shapes = [output.shape for output in outputs]
            raise InputError(f"outputs of shapes {shapes}: must be (B, priors, classes + 1) and (B, priors, 4)")
        logits, offsets = outputs
        if not (np.isfinite(logits).all() and np.isfinite(offsets).all()):
            raise InputError("the network's outputs are not finite numbers (nan or inf)")
        answers: list[BoxPrediction] = []
        for image_logits, image_offsets, geometry in zip(logits, offsets, geometries, strict=True):
            priors = self._priors.priors(geometry.input_size)
            wanted = (len(priors), len(self._labels) + 1)
            if image_logits.shape != wanted or image_offsets.shape != (len(priors), 4):
                shapes = f"{image_logits.shape} and {image_offsets.shape}"
                raise InputError(f"outputs of shapes {shapes} for an image: must be {wanted} and {(len(priors), 4)}")
            answers.append(self._decode(image_logits, image_offsets.astype(np.float32), priors, geometry))
        return answers

    def _decode(
        self,
        logits: NDArray[np.generic],
        offsets: NDArray[np.float32],
        priors: NDArray[np.float32],
        geometry: Geometry,
    ) -> BoxPrediction:
        rows = _hopeful(logits, threshold=self._selection.threshold)
        scores = probabilities(logits[rows])[:, BACKGROUND + 1 :].astype(np.float32)
        candidates = self._selection.may_stay(scores)
        rows = rows[candidates]
        boxes = decode_offsets(offsets[rows], priors[rows])
        height, width = geometry.input_size
        return self._selection.answer(
            boxes, scores[candidates], unit=(width, height), geometry=geometry, names=self._labels
        )


def _hopeful(logits: NDArray[np.generic], *, threshold: float) -> NDArray[np.intp]:
    """Return the priors that may have a score above the threshold, so that the others need no exact probabilities.

    A probability is at most exp(its logit - the largest logit).

    Shape:
        (priors, classes + 1) -> (K,)
    """
    if threshold <= 0:
        return np.arange(len(logits))
    exact = logits.astype(np.float32, copy=False)
    best = exact[:, BACKGROUND + 1 :].max(axis=1)
    return np.flatnonzero(best - np.maximum(best, exact[:, BACKGROUND]) >= np.log(threshold) - _ROUNDING)
