"""Do two engines compute the same function?"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from parckit.contract import InputError, Preprocessing
from parckit.runtimes import Images, Logits

RTOL = 1e-4
"""Accepted difference, as a share of the reference's largest logit.

Engines fold batch norms and add the terms of a convolution in different orders. In float32 (unit roundoff 6e-8) that
moved the logits of ParC-Nets, ResNet-18 and MobileNetV2 with random weights and norms by 7e-8 to 9e-6 of the largest;
ten times that leaves room for deeper networks.
"""
ATOL = 1e-6
"""Accepted difference where all logits are near zero: a few roundings of numbers of order 1 inside the network."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """How far a candidate's logits lie from the reference's.

    Attributes:
        max_abs: largest absolute difference; infinite if either side holds a value that is not finite.
        tolerance: `atol + rtol * max|reference|`.
        agreement: share of images for which both name the same class, 0..1.
        images: number of images compared.
    """

    max_abs: float
    tolerance: float
    agreement: float
    images: int

    @property
    def passed(self) -> bool:
        """Whether the difference is within the tolerance."""
        return self.max_abs <= self.tolerance


def compare(
    reference: Callable[[Images], Logits],
    candidate: Callable[[Images], Logits],
    images: Images,
    *,
    rtol: float = RTOL,
    atol: float = ATOL,
) -> Comparison:
    """Run both on the same images and compare their logits.

    Raises:
        InputError: if there is not one image.
        ValueError: if the two give logits of different shapes.
    """
    if not len(images):
        raise InputError("images: at least one is needed to compare two engines")
    expected, found = reference(images), candidate(images)
    if expected.shape != found.shape:
        raise ValueError(f"the reference gives logits of shape {expected.shape}, the candidate {found.shape}")
    finite = bool(np.isfinite(expected).all() and np.isfinite(found).all())
    return Comparison(
        max_abs=float(np.abs(expected - found).max()) if finite else float("inf"),
        tolerance=atol + rtol * float(np.abs(expected).max()) if finite else atol,
        agreement=float((expected.argmax(1) == found.argmax(1)).mean()),
        images=len(images),
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
