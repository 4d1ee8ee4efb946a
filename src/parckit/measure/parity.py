"""Comparing two engines: do they compute the same function?"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image
from scipy.optimize import linear_sum_assignment
from sklearn.datasets import load_sample_images

from parckit.contract import InputError
from parckit.measure.tolerance import TOLERANCES, Tolerance
from parckit.processing import box_iou
from parckit.runtimes import Outputs

ATOL = 1e-6
"""Accepted difference if all numbers are near zero: a few rounding errors of numbers near 1 inside the network."""
_TINY = 1e-30
"""Keeps divisors above zero."""
_SAME_SIDE = 0.05
"""Boxes whose sides all differ by less, in pixels, are the same too: rounding changes the overlap of thin boxes."""
_LONELY = 0.02
"""Accepted share of detections that only one of two engines has: 2 % of the detections of both together."""

_OTHER_CLASS = 1e-3
"""Accepted share of pixels with another class: rounding decides where the two best logits are nearly equal."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Difference:
    """The difference between one output of the candidate and the same output of the reference.

    Attributes:
        output: name of the output.
        max_abs: largest absolute difference; infinite if the two cannot be compared.
        tolerance: largest accepted difference, `atol + rtol * max|reference|`.
        figures: for arrays of numbers: `mean_abs`, the mean difference; `relative`, the largest one as a share of the
            reference's largest number; `cosine`, the lowest cosine between the outputs of one image; `spread`, how much
            the reference changes from image to image, as a share of its largest number.
        fault: why the two cannot be compared, in words; empty if they can.
    """

    output: str
    max_abs: float
    tolerance: float
    figures: Mapping[str, float] = field(default_factory=dict[str, float])
    fault: str = ""

    @property
    def passed(self) -> bool:
        """Whether the difference is accepted."""
        return self.max_abs <= self.tolerance


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """The differences between the outputs of the candidate and those of the reference.

    Attributes:
        differences: one per output.
    """

    differences: tuple[Difference, ...]

    @property
    def worst(self) -> Difference:
        """The difference that is largest relative to its tolerance."""
        return max(self.differences, key=lambda difference: difference.max_abs / difference.tolerance)

    @property
    def cosine(self) -> float | None:
        """The lowest cosine of all outputs; None if there is none."""
        return min((entry.figures["cosine"] for entry in self.differences if "cosine" in entry.figures), default=None)

    @property
    def passed(self) -> bool:
        """Whether the differences of all outputs are accepted."""
        return all(difference.passed for difference in self.differences)


def compare(
    reference: Outputs,
    candidate: Outputs,
    *,
    names: Sequence[str],
    rtol: float = TOLERANCES["fp32"].numbers,
    atol: float = ATOL,
) -> Comparison:
    """Compare all outputs of two engines for the same images.

    Args:
        reference: the correct outputs.
        candidate: the outputs to check.
        names: names of the outputs, in order.
        rtol: accepted difference, as a share of the reference's largest number.
        atol: accepted difference if all numbers are near zero.

    Raises:
        InputError: if there is no image, or the number of outputs differs.
    """
    if not len(reference[0]):
        raise InputError("images: at least one is needed to compare two engines")
    if len(reference) != len(candidate):
        raise InputError(f"{len(candidate)} outputs: the network has {len(reference)}")
    triples = zip(names, reference, candidate, strict=True)
    return Comparison(differences=tuple(_difference(*triple, rtol=rtol, atol=atol) for triple in triples))


def compare_detections(
    reference: Outputs, candidate: Outputs, *, tolerance: Tolerance = TOLERANCES["fp32"]
) -> Difference:
    """Compare the detections of two engines for one image as sets.

    Rounding may change the order of detections with nearly equal scores, and which of two boxes is suppressed whose
    overlap is nearly the accepted one. So the difference is the share of all detections without a partner in the other
    set; see `same_detections`.

    Args:
        reference: boxes, scores, labels and, with masks, the probabilities over every box.
        candidate: the same from the other engine.
        tolerance: which detections are the same.
    """
    alike = same_detections(reference, candidate, tolerance=tolerance)
    # Every detection has one partner at most.
    rows, columns = linear_sum_assignment(alike, maximize=True)
    lonely = sum(alike.shape) - 2 * int(alike[rows, columns].sum())
    return Difference(output="detections", max_abs=lonely / max(1, sum(alike.shape)), tolerance=_LONELY)


def same_detections(reference: Outputs, candidate: Outputs, *, tolerance: Tolerance) -> npt.NDArray[np.bool_]:
    """Return which detections of one engine are the same as which of another one.

    They are of the same class, with nearly the same score and mask. Their boxes overlap nearly, or differ by less than
    0.05 pixels on every side.

    Args:
        reference: boxes, scores, labels and, with masks, the probabilities over every box.
        candidate: the same from the other engine.
        tolerance: how far scores, overlap and the mean probabilities of masks may differ.

    Shape:
        (N, 4), (N,), (N,) and (M, 4), (M,), (M,) -> (N, M)
    """
    labels, others = reference[2], candidate[2]
    boxes, scores, *masks = (output.astype(np.float64) for output in (*reference[:2], *reference[3:]))
    other_boxes, other_scores, *other_masks = (output.astype(np.float64) for output in (*candidate[:2], *candidate[3:]))
    alike = box_iou(boxes, other_boxes) >= tolerance.overlap
    alike |= (np.abs(boxes[:, None] - other_boxes[None]) <= _SAME_SIDE).all(axis=2)
    alike &= labels[:, None] == others[None, :]
    alike &= np.abs(scores[:, None] - other_scores[None, :]) <= tolerance.score
    for expected, actual in zip(masks, other_masks, strict=True):
        for row, column in np.argwhere(alike).tolist():
            alike[row, column] = np.abs(expected[row] - actual[column]).mean() <= tolerance.score
    return alike


def compare_class_maps(reference: npt.NDArray[np.uint8], candidate: npt.NDArray[np.uint8]) -> Difference:
    """Compare the classes of all pixels. The difference is the share of pixels with another class."""
    share = float((reference != candidate).mean())
    return Difference(output="classes", max_abs=share, tolerance=_OTHER_CLASS, figures={"agreement": 1 - share})


def _difference(
    name: str, expected: npt.NDArray[np.generic], actual: npt.NDArray[np.generic], *, rtol: float, atol: float
) -> Difference:
    fault = ""
    if expected.shape != actual.shape:
        fault = f"{name} has the shape {actual.shape} instead of {expected.shape}"
    elif not (np.isfinite(expected).all() and np.isfinite(actual).all()):
        fault = f"{name} has numbers that are not finite (nan or inf)"
    if fault:
        return Difference(output=name, max_abs=float("inf"), tolerance=atol, fault=fault)
    exact, computed = (array.astype(np.float64).reshape(len(array), -1) for array in (expected, actual))
    distance, largest = np.abs(exact - computed), float(np.abs(exact).max())
    return Difference(
        output=name,
        max_abs=float(distance.max()),
        tolerance=atol + rtol * largest,
        figures={
            "mean_abs": float(distance.mean()),
            "relative": float(distance.max()) / max(largest, _TINY),
            "cosine": _lowest_cosine(exact, computed, atol=atol),
            "spread": float(np.ptp(exact, axis=0).max()) / max(largest, _TINY),
        },
    )


def _lowest_cosine(exact: npt.NDArray[np.float64], computed: npt.NDArray[np.float64], *, atol: float) -> float:
    """Return the lowest cosine between two rows; rows that differ by `atol` at most agree, such as two of zeros."""
    norms = np.linalg.norm(exact, axis=1) * np.linalg.norm(computed, axis=1)
    agree = (np.abs(exact - computed) <= atol).all(axis=1)
    cosines = (exact * computed).sum(axis=1) / np.maximum(norms, _TINY)
    return float(np.where(agree, 1.0, cosines).min())


def probe_pictures(size: tuple[int, int], *, count: int = 4, seed: int = 0) -> list[Image.Image]:
    """Return two kinds of random RGB pictures of a (height, width), `count` of every kind.

    The kinds are white noise, and smooth noise. The latter consists mainly of low frequencies, as photographs do.
    """
    rng = np.random.default_rng(seed)
    shape = (count, *size, 3)
    noise = rng.random(shape)
    # Cumulative sums of white noise along both axes have more low than high frequencies.
    smooth = rng.standard_normal(shape).cumsum(1).cumsum(2)
    low, high = smooth.min((1, 2), keepdims=True), smooth.max((1, 2), keepdims=True)
    levels = np.concatenate((noise, (smooth - low) / np.maximum(high - low, 1e-12)))
    return [Image.fromarray(pixels) for pixels in (255 * levels).round().astype(np.uint8)]


def real_pictures() -> list[Image.Image]:
    """Return two photographs, a temple and a flower, that come with scikit-learn."""
    return [Image.fromarray(pixels) for pixels in load_sample_images().images]
