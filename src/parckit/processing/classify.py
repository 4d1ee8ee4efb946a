"""Classification: from logits to the most probable classes, as text, JSON and picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import DecoderSpec, InputError, Task
from parckit.processing.bars import Bar, draw_bars, html_bars, text_bars
from parckit.processing.geometry import Geometry
from parckit.processing.limits import check_count, check_share
from parckit.processing.settings import usual_settings

UNKNOWN = "unknown"
"""The answer where no class is probable enough."""


class ClassScore(NamedTuple):
    """A class and how probable it is.

    Attributes:
        label: its name.
        probability: from 0 to 1.
        class_index: its number among the network's classes, from 0.
    """

    label: str
    probability: float
    class_index: int


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class ClassPrediction:
    """The most probable classes of a picture.

    Attributes:
        columns: headings of `rows`.
        ranking: the most probable class first.
        threshold: least probability of an answer.
    """

    columns: ClassVar[tuple[str, ...]] = ("class", "probability %")
    ranking: tuple[ClassScore, ...]
    threshold: float = 0.0

    @property
    def label(self) -> str:
        """The most probable class, or UNKNOWN if it is less probable than the threshold."""
        return self.ranking[0].label if self.is_known else UNKNOWN

    @property
    def probability(self) -> float:
        """Probability of the most probable class, from 0 to 1."""
        return self.ranking[0].probability

    @property
    def is_known(self) -> bool:
        """Whether the most probable class reaches the threshold."""
        return self.probability >= self.threshold

    def to_plain(self) -> list[dict[str, object]]:
        """Return the classes, the most probable one first; UNKNOWN, without a probability, comes before them."""
        classes: list[dict[str, object]] = [
            {"class": score.label, "probability": score.probability} for score in self.ranking
        ]
        return classes if self.is_known else [{"class": UNKNOWN, "probability": None}, *classes]

    def draw(self, picture: Image.Image) -> Image.Image:
        """Return the picture with a bar for every class below it."""
        # UNKNOWN has a row in every picture, so that all frames of a video have one size.
        return draw_bars(picture, self._bars(), rows=len(self.ranking) + (self.threshold > 0))

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table's rows: a class and its probability in percent; UNKNOWN has none."""
        return [(bar.label, "" if bar.probability is None else f"{100 * bar.probability:.1f}") for bar in self._bars()]

    def _bars(self) -> list[Bar]:
        bars = [Bar(score.label, score.probability) for score in self.ranking]
        return bars if self.is_known else [Bar(UNKNOWN, None), *bars]

    def __str__(self) -> str:
        return text_bars(self._bars())

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table with bars, as notebooks show it."""
        return html_bars(self._bars())


class ClassDecoder:
    """Turns logits into classes.

    Args:
        labels: class names by index.
        top: how many classes to tell.
        threshold: least probability of an answer, from 0 to 1.

    Raises:
        InputError: if `top` or `threshold` is out of range.
    """

    task: ClassVar[Task] = "classify"

    def __init__(self, labels: Sequence[str], *, top: int = 3, threshold: float = 0.0) -> None:
        self._labels = tuple(labels)
        self._top = min(check_count("top", top, of="classes"), len(self._labels))
        self._threshold = check_share("threshold", threshold, what="probability")

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[ClassPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the logits alone.
            geometries: of the images, one each; classes do not depend on them.

        Raises:
            InputError: if there are not as many numbers as classes, or one is not finite.

        Shape:
            outputs: one array, (B, classes)
        """
        del geometries
        logits = read_logits(outputs, labels=self._labels)
        shares = probabilities(logits)
        # Equal logits keep the order of the classes.
        best = np.argsort(-logits, axis=-1, kind="stable")[:, : self._top]
        rows = zip(best.tolist(), np.take_along_axis(shares, best, axis=-1).tolist(), strict=True)
        return [
            ClassPrediction(
                ranking=tuple(ClassScore(self._labels[index], share, index) for index, share in zip(*row, strict=True)),
                threshold=self._threshold,
            )
            for row in rows
        ]


CLASSIFY = DecoderSpec(name="classify", defaults=usual_settings(ClassDecoder))
"""How logits become classes: the `top` most probable ones; below the probability `threshold` the answer is UNKNOWN."""


def read_logits(outputs: Sequence[NDArray[np.generic]], *, labels: Sequence[str]) -> NDArray[np.float64]:
    """Return a classifier's only output.

    Raises:
        InputError: if there are not as many numbers as classes, or one is not finite.

    Shape:
        outputs: one array, (B, classes) -> (B, classes)
    """
    (logits,) = outputs
    if logits.ndim != 2 or logits.shape[1] != len(labels):
        raise InputError(f"outputs of shape {logits.shape}: must be (B, {len(labels)}), a number a class")
    if not np.isfinite(logits).all():
        raise InputError("the network's outputs are not finite numbers (nan or inf)")
    return logits.astype(np.float64)


def probabilities(logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return softmax over the last dimension, in float64.

    Shape:
        (B, classes) -> (B, classes)
    """
    exact = logits.astype(np.float64)
    odds = np.exp(exact - exact.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)
