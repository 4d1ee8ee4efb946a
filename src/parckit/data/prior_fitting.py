"""Fits the prior boxes of SSD to the boxes of a source.

A box that overlaps no prior by half trains only its nearest one, and is seldom found. The fitted priors keep the number
of priors at every position, so nothing else of the network changes.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError, Preprocessing
from parckit.data.boxes import open_boxes
from parckit.data.scene_transforms import move_to_input
from parckit.processing import PriorSettings
from parckit.processing.inputs import fitted_geometry

_HALF = 0.5
"""Intersection over union from which a box is matched with a prior in training."""

_ENOUGH = 0.55
"""A larger overlap counts as this one. A box is matched from 0.5 on; the additional 0.05 is a safety margin."""

_MOST_PICTURES = 2000
"""Pictures whose boxes are looked at."""

_STEPS = (1.3, 1.1, 1.03, 1.01)
"""Factors by which a scale or a ratio is changed: first coarsely, then finely."""

_LEAST_GAIN = 1e-5
"""A round of changes must raise the mean overlap by this much, or it is the last one of its step."""

_DIGITS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class PriorFit:
    """Priors fitted to a source.

    Attributes:
        priors: the fitted priors.
        counts: class -> number of boxes that were looked at.
        before: class -> share of its boxes that overlap a prior by half, for the priors at the start.
        after: the same for the fitted priors.
    """

    priors: PriorSettings
    counts: Mapping[str, int]
    before: Mapping[str, float]
    after: Mapping[str, float]


def fit_priors(source: str, *, preprocessing: Preprocessing, start: PriorSettings) -> PriorFit:
    """Fit the scales and ratios of priors to the training boxes of a source.

    One number after the other is made a little larger or smaller, and the change stays if boxes overlap their best
    priors more, up to an overlap of 0.55. Every class counts the same, however many boxes it has. Coarser maps keep
    larger scales. The priors at the start are returned if the fitted ones overlap fewer boxes by half.

    Args:
        source: what `open_boxes` takes.
        preprocessing: how pictures are brought to the input's size.
        start: the priors to begin with.

    Raises:
        InputError: as `open_boxes`, or if there is no box.
    """
    boxes, classes, labels = _training_boxes(source, preprocessing=preprocessing)
    present = np.unique(classes)
    weights = np.isin(np.arange(len(labels)), present) / np.bincount(classes, minlength=len(labels)).clip(1)
    of_box = weights[classes] / len(present)

    def score(priors: PriorSettings) -> float:
        overlaps = best_overlaps(priors, boxes, size=preprocessing.size)
        return float(np.minimum(overlaps, _ENOUGH) @ of_box)

    fitted = _search(start, score=score)
    before, after = (best_overlaps(priors, boxes, size=preprocessing.size) >= _HALF for priors in (start, fitted))
    if after @ of_box < before @ of_box:
        fitted, after = start, before
    members = {labels[label]: classes == label for label in present.tolist()}
    return PriorFit(
        priors=fitted,
        counts={label: int(rows.sum()) for label, rows in members.items()},
        before={label: float(before[rows].mean()) for label, rows in members.items()},
        after={label: float(after[rows].mean()) for label, rows in members.items()},
    )


def best_overlaps(priors: PriorSettings, boxes: NDArray[np.float64], *, size: tuple[int, int]) -> NDArray[np.float64]:
    """Return the overlap (intersection over union) of every box with its best prior.

    Of the priors of one shape, the best is the one whose centre is nearest, so only that one is compared.

    Args:
        priors: the priors.
        boxes: (centre x, centre y, width, height) as shares of the image.
        size: (height, width) of the image, pixels.

    Shape:
        boxes: (N, 4)
        returned: (N,)
    """
    best = np.zeros(len(boxes))
    areas = boxes[:, 2] * boxes[:, 3]
    for map_size, of_map in zip(priors.map_sizes(size), priors.shapes, strict=True):
        shapes = np.array(of_map).clip(0, 1)
        # The prior's centre is the middle of the position in which the box's centre lies. One row a shape of priors.
        overlaps = np.ones((len(shapes), len(boxes)))
        for axis, positions in enumerate(map_size[::-1]):
            centres, sides, lengths = boxes[:, axis], boxes[:, 2 + axis], shapes[:, axis, None]
            nearest = ((centres * positions).astype(np.int64).clip(0, positions - 1) + 0.5) / positions
            low = np.maximum(centres - sides / 2, nearest - lengths / 2)
            overlaps *= (np.minimum(centres + sides / 2, nearest + lengths / 2) - low).clip(0)
        unions = areas + shapes.prod(axis=1)[:, None] - overlaps
        best = np.maximum(best, (overlaps / unions).max(axis=0))
    return best


def _search(start: PriorSettings, *, score: Callable[[PriorSettings], float]) -> PriorSettings:
    """Return priors that no change of a single number makes much better."""
    priors, best = start, score(start)
    for step in _STEPS:
        before = -1.0
        while best > before + _LEAST_GAIN:
            before = best
            priors, best = _try_all(priors, best, step=step, score=score)
    return _with_numbers(priors, [round(number, _DIGITS) for number in _numbers(priors)])


def _try_all(
    priors: PriorSettings, best: float, *, step: float, score: Callable[[PriorSettings], float]
) -> tuple[PriorSettings, float]:
    """Try a larger and a smaller value for every number; return the best priors and their score."""
    for place, factor in product(range(len(_numbers(priors))), (step, 1 / step)):
        changed = _scaled(priors, place, factor=factor)
        is_ordered = list(changed.scales) == sorted(changed.scales)
        if is_ordered and (value := score(changed)) > best:
            priors, best = changed, value
    return priors, best


def _numbers(priors: PriorSettings) -> list[float]:
    """Return all scales, then all ratios."""
    return [*priors.scales, *(ratio for row in priors.ratios for ratio in row)]


def _scaled(priors: PriorSettings, place: int, *, factor: float) -> PriorSettings:
    """Return priors with one number changed."""
    numbers = _numbers(priors)
    numbers[place] *= factor
    return _with_numbers(priors, numbers)


def _with_numbers(priors: PriorSettings, numbers: Sequence[float]) -> PriorSettings:
    values = iter(numbers)
    scales = [next(values) for _ in priors.scales]
    return replace(priors, scales=scales, ratios=[[next(values) for _ in row] for row in priors.ratios])


def _training_boxes(
    source: str, *, preprocessing: Preprocessing
) -> tuple[NDArray[np.float64], NDArray[np.int64], tuple[str, ...]]:
    """Return the boxes of the training pictures as shares of the input, their classes, and the class names."""
    table = open_boxes(source, split="train")
    height, width = preprocessing.size
    pictures = range(0, len(table.targets), -(-len(table.targets) // _MOST_PICTURES))
    sizes = [table.size(index) for index in pictures]
    geometries = [fitted_geometry((tall, wide), preprocessing) for wide, tall in sizes]
    pairs = zip(pictures, geometries, strict=True)
    objects = [move_to_input(table.targets[index], geometry) for index, geometry in pairs]
    objects = [entry.select(~entry.crowd) for entry in objects]
    corners = np.concatenate([entry.boxes.numpy() for entry in objects]) / [width, height, width, height]
    if not len(corners):
        raise InputError(f"{source}, {table.served}: has no box to fit priors to")
    boxes = np.concatenate([(corners[:, :2] + corners[:, 2:]) / 2, corners[:, 2:] - corners[:, :2]], axis=1)
    return boxes, np.concatenate([entry.labels.numpy() for entry in objects]), table.labels
