"""Do two engines compute the same function?"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from parckit.contract import InputError, Preprocessing
from parckit.runtimes import Images, Outputs

RTOL = 1e-4
"""Accepted difference, as a share of the reference's largest logit.

Engines fold batch norms and add the terms of a convolution in different orders. In float32 (unit roundoff 6e-8) that
moved the logits of ParC-Nets, ResNet-18 and MobileNetV2 with random weights and norms by 7e-8 to 9e-6 of the largest;
ten times that leaves room for deeper networks.
"""
ATOL = 1e-6
"""Accepted difference where all logits are near zero: a few roundings of numbers of order 1 inside the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """How far one output of a candidate lies from the reference's.

    Attributes:
        output: its name.
        max_abs: largest absolute difference; infinite if either side holds a value that is not finite.
        tolerance: largest difference accepted, `atol + rtol * max|reference|`.
    """

    output: str
    max_abs: float
    tolerance: float

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.max_abs <= self.tolerance


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far a candidate's outputs lie from the reference's.

    Attributes:
        differences: one an output.
        images: number of images compared.
    """

    differences: tuple[Difference, ...]
    images: int

    @property
    def worst(self) -> Difference:
        """The output whose difference is largest beside its tolerance."""
        return max(self.differences, key=lambda difference: difference.max_abs / difference.tolerance)

    @property
    def passed(self) -> bool:
        """Whether all outputs agree."""
        return all(difference.passed for difference in self.differences)


def compare(
    reference: Callable[[Images], Outputs],
    candidate: Callable[[Images], Outputs],
    images: Images,
    *,
    names: Sequence[str],
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Comparison:
    """Run both on the same images and compare all their outputs.

    Args:
        reference: what is right.
        candidate: what is to be checked.
        images: inputs of both.
        names: of the outputs, in order.
        rtol: accepted difference as a share of the reference's largest number.
        atol: accepted difference where all numbers are near zero.

    Raises:
        InputError: if there is not one image.
        ValueError: if the two give another number of outputs, or outputs of different shapes.
    """
    if not len(images):
        raise InputError("images: at least one is needed to compare two engines")
    triples = zip(names, reference(images), candidate(images), strict=True)
    return Comparison(
        differences=tuple(_difference(*triple, rtol=rtol, atol=atol) for triple in triples), images=len(images)
    )


def _difference(
    name: str, expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic], *, rtol: float, atol: float
) -> Difference:
    if expected.shape != actual.shape:
        raise ValueError(f"{name}: the reference has shape {expected.shape}, the candidate {actual.shape}")
    if not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        return Difference(output=name, max_abs=float("inf"), tolerance=atol)
    distance = np.abs(expected.astype(np.float64) - actual.astype(np.float64))
    return Difference(
        output=name,
        max_abs=float(distance.max()),
        tolerance=atol + rtol * float(np.abs(expected).max()),
    )


def probe_images(preprocessing: Preprocessing, *, count: int = 4, seed: int = 0) -> Images:
    """Return inputs that excite a network in different ways, `count` of each of three kinds.

    Standard normal tensors; images of white noise in 0..1; images of smooth noise in 0..1, whose energy lies in the low
    frequencies as a photograph's does. The images are normalised as `preprocessing` says.

    Shape:
        (3 * count, 3, H, W)
    """
    rng = np.random.default_rng(seed)
    height, width = preprocessing.size
    shape = (count, 3, height, width)
    noise = rng.random(shape)
    # Integrating white noise along both axes gives the falling spectrum of natural images.
    smooth = rng.standard_normal(shape).cumsum(2).cumsum(3)
    low, high = smooth.min((2, 3), keepdims=True), smooth.max((2, 3), keepdims=True)
    pictures = np.concatenate((noise, (smooth - low) / np.maximum(high - low, 1e-12)))
    mean, std = (np.reshape(values, (3, 1, 1)) for values in (preprocessing.mean, preprocessing.std))
    return np.concatenate((rng.standard_normal(shape), (pictures - mean) / std)).astype(np.float32)
