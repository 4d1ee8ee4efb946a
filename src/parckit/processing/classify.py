"""Classification: from logits to the most probable classes, as text, JSON and picture."""

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from parckit.contract import DecoderSpec, InputError, Task
from parckit.processing.geometry import Geometry
from parckit.processing.lettering import letter

CLASSIFY = DecoderSpec(name="classify", defaults={"top": 3, "threshold": 0.0})
"""How logits become classes: the `top` most probable ones; below the probability `threshold` the answer is UNKNOWN."""

UNKNOWN = "unknown"
"""The answer where no class is probable enough."""

_BAR_CHARACTERS = 20
"""Length of a bar that stands for 100 %, in a terminal."""
_CANVAS_WIDTH = 480
"""Least width of a drawing, pixels: room for names, bars and numbers."""
_ROW_HEIGHT = 28
_FONT_SIZE = 16
_PAPER, _INK, _BAR = "#fdfdfd", "#1c2530", "#0072b2"


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
        width = max(picture.width, _CANVAS_WIDTH)
        rows = self._shown()
        canvas = Image.new("RGB", (width, picture.height + _ROW_HEIGHT * len(rows) + 8), _PAPER)
        canvas.paste(picture.convert("RGB"), ((width - picture.width) // 2, 0))
        pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_SIZE)
        left, right = width * 2 // 5, width - 80
        for number, (label, probability) in enumerate(rows):
            top = picture.height + 4 + _ROW_HEIGHT * number
            name, name_font = letter(label, size=_FONT_SIZE, width=left - 16)
            pen.text((left - 8, top + _ROW_HEIGHT // 2), name, fill=_INK, font=name_font, anchor="rm")
            if probability is not None:
                end = left + round((right - left) * probability)
                pen.rectangle((left, top + 5, end, top + _ROW_HEIGHT - 5), fill=_BAR)
                share = f"{100 * probability:.1f} %"
                pen.text((end + 8, top + _ROW_HEIGHT // 2), share, fill=_INK, font=font, anchor="lm")
        return canvas

    def rows(self) -> list[tuple[str, ...]]:
        """Return a table's rows: a class and its probability in percent; UNKNOWN has none."""
        return [(label, "" if share is None else f"{100 * share:.1f}") for label, share in self._shown()]

    def _shown(self) -> list[tuple[str, float | None]]:
        rows: list[tuple[str, float | None]] = [(score.label, score.probability) for score in self.ranking]
        return rows if self.is_known else [(UNKNOWN, None), *rows]

    def __str__(self) -> str:
        rows = self._shown()
        width = max(len(label) for label, _ in rows)
        lines = [
            label if probability is None else f"{label:{width}}  {100 * probability:5.1f} %  {_bar(probability)}"
            for label, probability in rows
        ]
        return "\n".join(line.rstrip() for line in lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table with bars, as notebooks show it."""
        cells = ((html.escape(label), _html_bar(probability)) for label, probability in self._shown())
        rows = "".join(f"<tr><td>{label}</td><td>{bar}</td></tr>" for label, bar in cells)
        return f"<table>{rows}</table>"


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
        if not 1 <= top < math.inf or int(top) != top:
            raise InputError(f"top={top}: must be a whole number of classes, at least 1")
        if not 0 <= threshold <= 1:
            raise InputError(f"threshold={threshold}: must be a probability, from 0 to 1")
        self._labels = tuple(labels)
        self._top = min(int(top), len(self._labels))
        self._threshold = threshold

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
        (logits,) = outputs
        if logits.ndim != 2 or logits.shape[1] != len(self._labels):
            raise InputError(f"outputs of shape {logits.shape}: must be (B, {len(self._labels)}), a number a class")
        if not np.isfinite(logits).all():
            raise InputError("the network's outputs are not finite numbers (nan or inf)")
        shares = probabilities(logits)
        # Equal logits keep the order of the classes.
        best = np.argsort(-logits.astype(np.float64), axis=-1, kind="stable")[:, : self._top]
        rows = zip(best.tolist(), np.take_along_axis(shares, best, axis=-1).tolist(), strict=True)
        return [
            ClassPrediction(
                ranking=tuple(ClassScore(self._labels[index], share, index) for index, share in zip(*row, strict=True)),
                threshold=self._threshold,
            )
            for row in rows
        ]


def probabilities(logits: NDArray[np.generic]) -> NDArray[np.float64]:
    """Return softmax over the last dimension, in float64.

    Shape:
        (B, classes) -> (B, classes)
    """
    exact = logits.astype(np.float64)
    odds = np.exp(exact - exact.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def _html_bar(probability: float | None) -> str:
    if probability is None:
        return ""
    style = f"display:inline-block;height:.7em;background:{_BAR};width:{10 * probability:.2f}em"
    return f'<div style="{style}"></div> {100 * probability:.1f} %'


def _bar(probability: float) -> str:
    return "█" * round(_BAR_CHARACTERS * probability)
