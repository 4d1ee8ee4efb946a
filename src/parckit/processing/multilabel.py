"""Several labels a picture: from logits to the labels that a picture has, as text, JSON and picture."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import DecoderSpec, InputError, Task
from parckit.processing.bars import Bar, draw_bars, html_bars, text_bars
from parckit.processing.classify import read_logits
from parckit.processing.geometry import Geometry
from parckit.processing.limits import check_count
from parckit.processing.settings import usual_settings


class LabelScore(NamedTuple):
    """A class, how probable it is that a picture shows it, and from which probability on the answer says so.

    Attributes:
        label: its name.
        probability: from 0 to 1. The probabilities of all classes do not add up to 1.
        class_index: its number among the network's classes, from 0.
        threshold: from 0 to 1.
    """

    label: str
    probability: float
    class_index: int
    threshold: float

    @property
    def is_present(self) -> bool:
        """Whether the answer says that the picture shows the class."""
        return self.probability >= self.threshold


@dataclass(frozen=True, kw_only=True, slots=True, repr=False)
class LabelPrediction:
    """The labels of a picture.

    Attributes:
        columns: headings of `rows`.
        ranking: all classes, the most probable one first.
        top: number of classes to show at least, also if they are not present.
    """

    columns: ClassVar[tuple[str, ...]] = ("class", "probability %", "threshold %", "present")
    ranking: tuple[LabelScore, ...]
    top: int = 3

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes that the picture shows, the most probable one first; may be empty."""
        return tuple(score.label for score in self.ranking if score.is_present)

    def to_plain(self) -> list[dict[str, object]]:
        """Return the most probable classes and all that are present, the most probable one first."""
        return [
            {
                "class": score.label,
                "probability": score.probability,
                "threshold": score.threshold,
                "present": score.is_present,
            }
            for score in self._shown()
        ]

    def draw(self, picture: Image.Image) -> Image.Image:
        """Return the picture with a bar for every shown class below it. A mark stands at the threshold."""
        return draw_bars(picture, self._bars())

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table's rows: a class, its probability and threshold in percent, and whether it is present."""
        return [
            (
                score.label,
                f"{100 * score.probability:.1f}",
                f"{100 * score.threshold:.1f}",
                "yes" if score.is_present else "no",
            )
            for score in self._shown()
        ]

    def _shown(self) -> list[LabelScore]:
        return [score for place, score in enumerate(self.ranking) if score.is_present or place < self.top]

    def _bars(self) -> list[Bar]:
        return [
            Bar(score.label, score.probability, score.threshold, is_faint=not score.is_present)
            for score in self._shown()
        ]

    def __str__(self) -> str:
        return f"{', '.join(self.labels) or 'no label'}\n{text_bars(self._bars())}"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table with bars, as notebooks show it."""
        return html_bars(self._bars())


class LabelDecoder:
    """Turns logits into labels.

    Args:
        labels: class names by index.
        top: how many classes an answer shows at least.
        threshold: least probability of a label, from 0 to 1: one number, or one for every class.

    Raises:
        InputError: if `top` or a threshold is out of range, or there are not as many thresholds as classes.
    """

    task: ClassVar[Task] = "multilabel"

    def __init__(self, labels: Sequence[str], *, top: int = 3, threshold: float | Sequence[float] = 0.5) -> None:
        self._top = check_count("top", top, of="classes")
        thresholds = [threshold] * len(labels) if isinstance(threshold, int | float) else list(threshold)
        if len(thresholds) != len(labels):
            raise InputError(f"threshold: has {len(thresholds)} numbers; needs one, or one for each of {len(labels)}")
        for label, value in zip(labels, thresholds, strict=True):
            if not 0 <= value <= 1:
                raise InputError(f"threshold={value} of class {label!r}: must be a probability, from 0 to 1")
        self._labels = tuple(labels)
        self._thresholds = tuple(map(float, thresholds))

    def __call__(self, outputs: Sequence[NDArray[np.generic]], geometries: Sequence[Geometry]) -> list[LabelPrediction]:
        """Return an answer for every image.

        Args:
            outputs: the logits alone.
            geometries: of the images, one each; labels do not depend on them.

        Raises:
            InputError: if there are not as many numbers as classes, or one is not finite.

        Shape:
            outputs: one array, (B, classes)
        """
        del geometries
        logits = read_logits(outputs, labels=self._labels)
        # Equal logits keep the order of the classes.
        orders = np.argsort(-logits, axis=-1, kind="stable").tolist()
        return [
            LabelPrediction(
                ranking=tuple(LabelScore(self._labels[i], row[i], i, self._thresholds[i]) for i in order),
                top=self._top,
            )
            for order, row in zip(orders, sigmoid(logits).tolist(), strict=True)
        ]


MULTILABEL = DecoderSpec(name="multilabel", defaults=usual_settings(LabelDecoder))
"""How logits become labels: those whose probability reaches `threshold`, which is one number or one for every class.

The answer also shows the `top` most probable classes.
"""


def sigmoid(logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return the probability of every class by itself, in float64.

    Shape:
        (B, classes) -> (B, classes)
    """
    # This is 1 / (1 + exp(-logit)), without the overflow.
    return np.exp(-np.logaddexp(0, -logits.astype(np.float64)))
