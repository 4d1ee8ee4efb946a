"""The classes of a picture's pixels beside the true ones: in words, and drawn on a picture of the page."""

from collections.abc import Iterable, Sequence

import numpy as np
import numpy.typing as npt

from parckit.data import PixelClasses
from parckit.measure.segmentation import true_classes
from parckit.processing import IGNORED, Geometry, MaskPrediction, class_colours
from parckit.report.judgement import Judgement

_MOST_NAMED = 3
"""Classes or mistakes that are named."""
_OPACITY = 0.5
"""How much the colour of a right pixel covers of the picture."""
_GAP = 4
"""Pixels between the two drawings."""
_NO_ANSWER = "no answer"


def judge_pixels(answer: MaskPrediction, target: PixelClasses, labels: Sequence[str]) -> Judgement:
    """Compare the classes of all pixels whose true class is known. The most frequent mistakes are named.

    Answers are ranked by the share of wrong pixels.
    """
    truth = true_classes(target)
    known = truth != IGNORED
    true, answered = truth[known].astype(np.int64), answer.mask[known]
    wrong = true != answered
    pixels = max(1, len(true))
    names = {**dict(enumerate(labels)), IGNORED: _NO_ANSWER}
    areas = ((names[index], count) for index, count in _counted(true))
    mistakes = (
        (f"{names[pair // (IGNORED + 1)]} as {names[pair % (IGNORED + 1)]}", count)
        for pair, count in _counted(true[wrong] * (IGNORED + 1) + answered[wrong])
    )
    share = int(wrong.sum()) / pixels
    return Judgement(
        truth=_in_words(areas, pixels=pixels) or "unknown",
        answer=_in_words(mistakes, pixels=pixels) or "all pixels right",
        rank_value=share,
        is_right=not share,
    )


def _counted(numbers: npt.NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the most frequent numbers and how often they occur."""
    values, counts = np.unique(numbers, return_counts=True)
    order = np.argsort(-counts, kind="stable")[:_MOST_NAMED]
    return list(zip(values[order].tolist(), counts[order].tolist(), strict=True))


def _in_words(areas: Iterable[tuple[str, int]], *, pixels: int) -> str:
    return ", ".join(f"{name}: {100 * count / pixels:.1f} %" for name, count in areas)


def mark_pixels(
    pixels: npt.NDArray[np.uint8], answer: MaskPrediction, target: PixelClasses, geometry: Geometry
) -> npt.NDArray[np.uint8]:
    """Draw the classes of the answer and of the truth on a network's input, beside or below each other.

    The colours of right pixels are translucent; the background has none there. Those of wrong pixels cover the picture.
    Pixels whose true class nobody knows are whitish in both.

    Args:
        pixels: the input as RGB pixels.
        answer: the classes in the picture.
        target: the true classes.
        geometry: where the input lies in the picture.

    Shape:
        pixels: (H, W, 3); the drawing has two pictures of this size
    """
    truth, answered = (
        geometry.mask_to_input(classes, outside=IGNORED) for classes in (true_classes(target), answer.mask)
    )
    answered = np.where(truth == IGNORED, IGNORED, answered)
    opacity = np.where(truth == answered, np.where(np.isin(truth, answer.clear_classes()), 0, _OPACITY), 1)[..., None]
    colours = np.array(class_colours())
    drawings = [
        (pixels * (1 - opacity) + colours[classes] * opacity).round().astype(np.uint8) for classes in (answered, truth)
    ]
    axis = int(pixels.shape[0] >= pixels.shape[1])
    gap = np.full([_GAP if side == axis else length for side, length in enumerate(pixels.shape)], 255, np.uint8)
    return np.concatenate([drawings[0], gap, drawings[1]], axis=axis)
