"""How much an image of a class counts in the loss of a classifier, and a pixel of a class in that of a segmenter."""

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

_LARGEST = 1e9
"""Largest weight, before and after scaling. Sums of losses with such weights stay far below what float32 holds."""

_MOST_SHOWN = 10
"""Up to this number of classes, all weights fit a line."""


def check_class_weights(wanted: ClassWeights | None) -> None:
    """Check the weights themselves, before the classes are known.

    Raises:
        InputError: if a weight is negative or too large.
    """
    if wanted is None or (isinstance(wanted, str) and wanted in _POWER):
        return
    for weight in wanted.values() if isinstance(wanted, Mapping) else wanted:
        # A string is a sequence, too.
        if isinstance(weight, str) or not 0 <= weight <= _LARGEST:
            accepted = f"balanced, sqrt, {{CLASS: WEIGHT, ...}} or [WEIGHT, ...] with weights from 0 to {_LARGEST:g}"
            raise InputError(f"class_weights={wanted!r}: must be {accepted}")


def resolve_class_weights(
    wanted: ClassWeights, *, labels: Sequence[str], counts: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Return the weight of every class, scaled so that the mean over all images or pixels of an epoch is 1.

    So the weights move the loss from class to class, but they do not change its size, and the learning rate can stay.

    Args:
        wanted: the weights of a recipe. `"balanced"` gives every class the same sum of weights. `"sqrt"` goes half the
            way: a class that is a hundred times as rare gets ten times the weight.
        labels: class names by index.
        counts: how many images or pixels of every class an epoch has; one of them at least.

    Raises:
        InputError: if a class is unknown, the number of weights is wrong, all classes that occur would count 0, or one
            weight is too large for the others.
    """
    if isinstance(wanted, str):
        # A class that does not occur has no weight to give; 1 is neutral for label smoothing.
        raw = np.maximum(counts, 1.0) ** -_POWER[wanted]
        return np.where(counts > 0, raw / ((raw * counts).sum() / counts.sum()), 1.0)
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
    mean = (raw * counts).sum() / counts.sum()
    if mean == 0:
        raise InputError(f"class_weights={wanted!r}: the classes of all training data would count 0")
    if raw.max() > _LARGEST * mean:
        raise InputError(f"class_weights={wanted!r}: a weight is more than {_LARGEST:g} times the mean weight")
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
