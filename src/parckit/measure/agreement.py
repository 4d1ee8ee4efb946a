"""How far two engines give the same answers for the same pictures, after decoding.

Rounding decides between answers that are nearly equally probable. Such ties say nothing about an engine, so they are
not counted.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
from numpy.typing import NDArray

from parckit.contract import DecoderSpec, NetworkSpec
from parckit.measure.parity import same_detections
from parckit.measure.tolerance import Tolerance
from parckit.processing import BoxPrediction, Geometry, LabelPrediction, make_decoder, probabilities
from parckit.runtimes import Outputs

_LEAST_SCORE = 0.1
"""Boxes with lower scores are not compared. It is below the usual thresholds, so that weak networks have boxes, too."""
_ALL = 1_000_000
"""More boxes than a network gives for a picture."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Answers:
    """What two engines gave for the same pictures, and how it becomes answers.

    Attributes:
        expected: the outputs of one engine; all begin with the batch.
        actual: those of the other one, of the same shapes.
        decoder: how outputs become an answer.
        spec: describes the network.
        geometries: where the images lie in their pictures.
    """

    expected: Outputs
    actual: Outputs
    decoder: DecoderSpec
    spec: NetworkSpec
    geometries: Sequence[Geometry]


def agreement(answers: Answers, tolerance: Tolerance) -> float | None:
    """Return the share, from 0 to 1, of the answers that two engines have in common; None if no answer counts.

    It is, for one class a picture: the share of pictures with the same most probable class; for masks: the share of
    the maps' pixels with the same one; for several labels a picture: the share of pictures with the same labels, of
    those that have labels; for boxes: the share of the boxes of both engines that the other one has, too.

    Args:
        answers: what the engines gave.
        tolerance: which answers are ties, and which boxes are the same.
    """
    match answers.spec.task:
        case "classify" | "segment":
            return _classes(answers.expected[0], answers.actual[0], tolerance)
        case "multilabel":
            return _labels(answers, tolerance)
        case "detect":
            return _boxes(answers, tolerance)


def _classes(expected: NDArray[np.generic], actual: NDArray[np.generic], tolerance: Tolerance) -> float | None:
    """Return the share of equal classes.

    Shape:
        expected, actual: (B, classes) or (B, classes, h, w)
    """
    if expected.shape[1] == 1:
        return None
    equal = total = 0
    # One picture after the other keeps the arrays small.
    for one, other in zip(expected, actual, strict=True):
        shares = probabilities(np.moveaxis(one, 0, -1))
        second, first = np.moveaxis(np.sort(shares, axis=-1)[..., -2:], -1, 0)
        # Each of the two probabilities may change by the tolerance.
        is_clear = first - second > 2 * tolerance.score
        equal += int((is_clear & (shares.argmax(-1) == other.argmax(0))).sum())
        total += int(is_clear.sum())
    return equal / total if total else None


def _labels(answers: Answers, tolerance: Tolerance) -> float | None:
    """Return the share of pictures with the same labels. Labels near their threshold are ties."""
    decode = make_decoder(answers.decoder, answers.spec)
    equal: list[bool] = []
    columns = (decode(outputs, answers.geometries) for outputs in (answers.expected, answers.actual))
    for pair in zip(*cast("Iterable[Sequence[LabelPrediction]]", columns), strict=True):
        one, other = ({score.class_index: score for score in answer.ranking} for answer in pair)
        sure = [label for label, score in one.items() if abs(score.probability - score.threshold) > tolerance.score]
        if any(one[label].is_present or other[label].is_present for label in sure):
            equal.append(all(one[label].is_present == other[label].is_present for label in sure))
    return sum(equal) / len(equal) if equal else None


def _boxes(answers: Answers, tolerance: Tolerance) -> float | None:
    """Return the share of the boxes of both engines that the other one has.

    It has a box if that is among its boxes before the suppression: which of two boxes of nearly the same score or
    overlap is suppressed is a tie.
    """
    decoder, spec = answers.decoder, answers.spec
    threshold = min(cast("float", decoder.defaults["threshold"]), _LEAST_SCORE)
    decode = make_decoder(decoder, spec, overrides={"threshold": threshold})
    every = {"threshold": max(0.0, threshold - tolerance.score), "per_class": _ALL, "most": _ALL}
    decode_all = make_decoder(decoder, spec, overrides=every, suppress=_keep_all)
    shared = total = 0
    for outputs, others in ((answers.expected, answers.actual), (answers.actual, answers.expected)):
        for kept, candidates in zip(
            cast("Sequence[BoxPrediction]", decode(outputs, answers.geometries)),
            cast("Sequence[BoxPrediction]", decode_all(others, answers.geometries)),
            strict=True,
        ):
            shared += _count_shared(kept, candidates, tolerance)
            total += len(kept)
    return shared / total if total else None


def _keep_all(boxes: NDArray[np.floating], scores: NDArray[np.floating], overlap: float) -> NDArray[np.intp]:
    """Suppress no box."""
    del boxes, overlap
    return np.arange(len(scores))


def _count_shared(kept: BoxPrediction, candidates: BoxPrediction, tolerance: Tolerance) -> int:
    """Return how many boxes are among the candidates. One class after the other keeps the arrays small."""
    count = 0
    for label in np.unique(kept.labels):
        pair = [
            (answer.boxes[of_class], answer.scores[of_class], answer.labels[of_class])
            for answer in (kept, candidates)
            for of_class in (answer.labels == label,)
        ]
        count += int(same_detections(*pair, tolerance=tolerance).any(axis=1).sum())
    return count
