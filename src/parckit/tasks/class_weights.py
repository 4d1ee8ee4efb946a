"""How much a training image of a class counts in the loss."""

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from parckit.contract import InputError

Balance = Literal["balanced", "sqrt"]
ClassWeights = Balance | Mapping[str, float] | list[float]
"""`"balanced"`, `"sqrt"`, weights by class name (1 for all other classes), or one weight for every class, in order."""

_POWER: Mapping[object, float] = {"balanced": 1.0, "sqrt": 0.5}
"""The weight of a class is this power of one over its share."""

_MOST_SHOWN = 10
"""Up to this number of classes, all weights fit a line."""


def check_class_weights(wanted: ClassWeights | None) -> None:
    """Check the weights themselves, before the classes are known.

    Raises:
        InputError: if a weight is negative or not finite.
    """
    if wanted is None or (isinstance(wanted, str) and wanted in _POWER):
        return
    for weight in wanted.values() if isinstance(wanted, Mapping) else wanted:
        # A string is a sequence, too.
        if isinstance(weight, str) or not (math.isfinite(weight) and weight >= 0):
            accepted = "balanced, sqrt, {CLASS: WEIGHT, ...} or [WEIGHT, ...] with finite weights from 0"
            raise InputError(f"class_weights={wanted!r}: must be {accepted}")


def resolve_class_weights(
    wanted: ClassWeights, *, labels: Sequence[str], draws: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weight of every class, scaled so that the mean over the drawn images is 1.

    So the weights move the loss from class to class, but they do not change its size, and the learning rate can stay.

    Args:
        wanted: the weights of a recipe. `"balanced"` gives every class the same sum of weights. `"sqrt"` goes half the
            way: a class that is a hundred times as rare gets ten times the weight.
        labels: class names by index.
        draws: how many images of every class an epoch draws.

    Raises:
        InputError: if a class is unknown, the number of weights is wrong, or every image would count 0.
    """
    if isinstance(wanted, str):
        # A class without images has no weight to give; 1 is neutral for label smoothing.
        raw = np.maximum(draws, 1.0) ** -_POWER[wanted]
        return np.where(draws > 0, raw / ((raw * draws).sum() / draws.sum()), 1.0)
    if isinstance(wanted, Mapping):
        # YAML reads names such as 3 as numbers.
        weight_of = {str(name): weight for name, weight in wanted.items()}
        if unknown := [name for name in weight_of if name not in labels]:
            raise InputError(f"class_weights: the data have no class {unknown[0]!r}; they have {_listed(labels)}")
        raw = np.array([weight_of.get(label, 1.0) for label in labels], dtype=np.float64)
    else:
        if len(wanted) != len(labels):
            raise InputError(f"class_weights: has {len(wanted)} weights, but the data have {len(labels)} classes")
        raw = np.array(wanted, dtype=np.float64)
    mean = (raw * draws).sum() / draws.sum()
    if mean == 0:
        raise InputError(f"class_weights={wanted!r}: every training image would count 0")
    return raw / mean


def describe_class_weights(weights: NDArray[np.float64], *, labels: Sequence[str]) -> str:
    """Return a line that shows the weights; of many classes only the lowest and the highest."""
    if len(labels) <= _MOST_SHOWN:
        shown = [f"{label} {weight:.3g}" for label, weight in zip(labels, weights, strict=True)]
        return f"class weights: {', '.join(shown)}"
    low, high = int(weights.argmin()), int(weights.argmax())
    return f"class weights: from {weights[low]:.3g} ({labels[low]}) to {weights[high]:.3g} ({labels[high]})"


def _listed(labels: Sequence[str]) -> str:
    return ", ".join(labels[:_MOST_SHOWN]) + (", ..." if len(labels) > _MOST_SHOWN else "")
