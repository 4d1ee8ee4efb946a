"""Detection: boxes with a class and a score, as text, JSON and picture."""

import html
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from parckit.processing.boxes import Suppress, suppress_by_class
from parckit.processing.geometry import Geometry
from parckit.processing.lettering import letter
from parckit.processing.limits import check_count, check_share
from parckit.processing.masks import BoxMasks

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#f0e442", "#1c2530")
"""Colours of classes in drawings, by class index: those of Okabe and Ito, which colour-blind people can tell apart."""
_LIGHT = ("#e69f00", "#56b4e9", "#f0e442")
"""Colours on which dark letters can be read."""
_MASK_OPACITY = 110
"""How much a mask covers of the picture, from 0 to 255."""
_PAPER, _INK = "#ffffff", "#1c2530"
_REFERENCE_SIDE = 640
"""Lines and letters have their usual size in a picture whose shorter side has this many pixels."""


@dataclass(frozen=True, kw_only=True, slots=True, repr=False, eq=False)
class BoxPrediction:
    """The objects that were found in a picture, the one with the highest score first.

    Attributes:
        columns: headings of `rows`.
        boxes: (left, top, right, bottom) in pixels of the picture, from its upper left corner.
        scores: probability of the box's class, from 0 to 1.
        labels: index of the class among the network's classes.
        names: class names by index.
        masks: which pixels belong to the objects, one mask for every box; None from a network without masks.

    Shape:
        boxes: (N, 4) float32
        scores: (N,) float32
        labels: (N,) int64
    """

    columns: ClassVar[tuple[str, ...]] = ("class", "score %", "left", "top", "right", "bottom")
    boxes: NDArray[np.float32]
    scores: NDArray[np.float32]
    labels: NDArray[np.int64]
    names: tuple[str, ...]
    masks: BoxMasks | None = None

    def __len__(self) -> int:
        return len(self.scores)

    def to_plain(self) -> list[dict[str, object]]:
        """Return the class, the score and the box of every object, and its mask as `BoxMasks.rle` says."""
        plain: list[dict[str, object]] = [
            {"class": name, "score": score, "box": [round(side, 2) for side in box]}
            for name, score, box in self._objects()
        ]
        if self.masks is None:
            return plain
        return [{**one, "mask": self.masks.rle(index)} for index, one in enumerate(plain)]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of a table: class, score in percent, and the box in pixels."""
        return [(name, f"{100 * score:.1f}", *(f"{side:.0f}" for side in box)) for name, score, box in self._objects()]

    def draw(self, picture: Image.Image) -> Image.Image:
        """Return the picture with a frame around every object, its class and score, and its mask, translucent."""
        canvas = picture.convert("RGB")
        if canvas is picture:
            canvas = picture.copy()
        self._draw_masks(canvas)
        pen = ImageDraw.Draw(canvas)
        unit = max(1.0, min(canvas.size) / _REFERENCE_SIDE)
        line, size = max(2, round(2 * unit)), max(11, round(13 * unit))
        # The best objects are drawn last, on top.
        for (name, score, box), label in reversed(list(zip(self._objects(), self.labels.tolist(), strict=True))):
            colour = COLOURS[label % len(COLOURS)]
            left, top, right, bottom = box
            pen.rectangle((left, top, max(left, right - 1), max(top, bottom - 1)), outline=colour, width=line)
            text, font = letter(f"{name} {100 * score:.0f} %", size=size, width=canvas.width)
            width, height = font.getlength(text) + 6, size + 5
            # The name stands above the frame, or inside it if there is no room above.
            text_left = min(max(0.0, left), max(0.0, canvas.width - width))
            text_top = top - height if top >= height else top
            pen.rectangle((text_left, text_top, text_left + width, text_top + height), fill=colour)
            ink = _INK if colour in _LIGHT else _PAPER
            pen.text((text_left + 3, text_top + height / 2), text, fill=ink, font=font, anchor="lm")
        return canvas

    def _draw_masks(self, canvas: Image.Image) -> None:
        for index in reversed(range(0 if self.masks is None else len(self))):
            (left, top), part = cast("BoxMasks", self.masks).part(index)
            if part.size:
                opacity = Image.fromarray(part.astype(np.uint8) * np.uint8(_MASK_OPACITY))
                colour = COLOURS[self.labels[index] % len(COLOURS)]
                canvas.paste(colour, (left, top, left + opacity.width, top + opacity.height), opacity)

    def _objects(self) -> list[tuple[str, float, list[float]]]:
        names = [self.names[label] for label in self.labels.tolist()]
        return list(zip(names, self.scores.tolist(), self.boxes.tolist(), strict=True))

    def __str__(self) -> str:
        if not len(self):
            return "no objects"
        width = max(len(name) for name, _, _ in self._objects())
        return "\n".join(
            f"{name:{width}}  {100 * score:5.1f} %  at " + ", ".join(f"{side:.0f}" for side in box)
            for name, score, box in self._objects()
        )

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table, as notebooks show it."""
        head = "".join(f"<th>{column}</th>" for column in self.columns)
        rows = ("".join(f"<td>{html.escape(cell)}</td>" for cell in row) for row in self.rows())
        return f"<table><tr>{head}</tr>{''.join(f'<tr>{row}</tr>' for row in rows)}</table>"


@dataclass(frozen=True, kw_only=True, slots=True)
class BoxSelection:
    """Which of many overlapping boxes become an answer.

    Attributes:
        threshold: only boxes with a larger score stay, from 0 to 1.
        overlap: of two boxes of a class whose intersection over union is larger, only the better one stays.
        per_class: most boxes of a class in a picture.
        most: most boxes of all classes in a picture.
        suppress: drops overlapping boxes of one class.

    Raises:
        InputError: if a value is out of range.
    """

    threshold: float
    overlap: float
    per_class: int
    most: int
    suppress: Suppress

    def __post_init__(self) -> None:
        check_share("threshold", self.threshold, what="probability")
        check_share("overlap", self.overlap)
        check_count("per_class", self.per_class, of="boxes")
        check_count("most", self.most, of="boxes")

    def may_stay(self, scores: NDArray[np.floating]) -> NDArray[np.intp]:
        """Return the boxes that have a score above the threshold; the others need not be decoded.

        Shape:
            (N, classes) -> (K,)
        """
        return np.flatnonzero((scores > self.threshold).any(axis=1))

    def answer(
        self,
        boxes: NDArray[np.float32],
        scores: NDArray[np.float32],
        *,
        unit: tuple[float, float] = (1.0, 1.0),
        geometry: Geometry,
        names: Sequence[str],
    ) -> BoxPrediction:
        """Suppress boxes class by class, and bring those that stay to the picture.

        Args:
            boxes: (left, top, right, bottom) in the input.
            scores: the score of every box for every class.
            unit: (horizontal, vertical) unit of the boxes, in pixels of the input.
            geometry: where the input lies in the picture.
            names: class names by index.

        Shape:
            boxes: (N, 4)
            scores: (N, classes)
        """
        rows, labels = suppress_by_class(
            boxes,
            scores,
            threshold=self.threshold,
            overlap=self.overlap,
            per_class=int(self.per_class),
            suppress=self.suppress,
        )
        in_picture = geometry.boxes_to_picture(boxes[rows] * np.array([*unit, *unit], np.float32))
        return best_boxes(in_picture, scores[rows, labels], labels, most=int(self.most), names=names)


def best_boxes(
    boxes: NDArray[np.float32],
    scores: NDArray[np.float32],
    labels: NDArray[np.int64],
    *,
    most: int,
    names: Sequence[str],
    masks: BoxMasks | None = None,
) -> BoxPrediction:
    """Return the `most` best boxes, the best first; boxes of equal score keep their order.

    Shape:
        boxes: (N, 4)
        scores: (N,)
        labels: (N,)
    """
    order = np.argsort(-scores, kind="stable")[:most]
    return BoxPrediction(
        boxes=boxes[order],
        scores=scores[order],
        labels=labels[order],
        names=tuple(names),
        masks=None if masks is None else masks[order],
    )
