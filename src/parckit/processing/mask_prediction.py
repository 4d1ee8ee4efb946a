"""The class of every pixel of a picture, as text, JSON, picture and file."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from parckit.processing.bars import Bar, html_bars, text_bars
from parckit.processing.lettering import Font, letter
from parckit.processing.palette import class_colours

IGNORED = 255
"""In place of a class: a pixel that nobody knows the class of, or that the network did not see."""
_CLEAR = "background"
"""Pixels of a class of this name get no colour in drawings."""
_OPACITY = 128
"""How much a colour covers of the picture, from 0 to 255."""
_LEGEND_WIDTH = 0.4
"""Most of the picture's width that the legend takes."""
_SMALLEST = 64
"""A picture whose shorter side has fewer pixels gets no legend: it would cover the picture."""
_REFERENCE_SIDE = 640
"""Letters have their usual size in a picture whose shorter side has this many pixels."""
_PAPER, _INK = (253, 253, 253), (28, 37, 48)


@dataclass(frozen=True, kw_only=True, slots=True, repr=False, eq=False)
class MaskPrediction:
    """The class of every pixel of a picture.

    Attributes:
        columns: headings of `rows`.
        mask: class numbers; IGNORED where the network did not see the picture, as beyond a crop at the centre.
        names: class names by number.

    Shape:
        mask: (H, W) uint8, of the picture's size
    """

    columns: ClassVar[tuple[str, ...]] = ("class", "pixels", "share %")
    mask: NDArray[np.uint8]
    names: tuple[str, ...]

    def pixels(self) -> Mapping[str, int]:
        """Return the number of pixels of every class that occurs, the largest first."""
        return {self.names[index]: count for index, count in self._counts()}

    def to_plain(self) -> list[dict[str, object]]:
        """Return the pixels of every class that occurs, the largest first, and its share of the pixels with a class."""
        return [
            {"class": name, "pixels": count, "share": round(share, 6)}
            for (name, count), share in zip(self.pixels().items(), self._shares(), strict=True)
        ]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of a table: class, pixels, and share in percent."""
        rows = zip(self.pixels().items(), self._shares(), strict=True)
        return [(name, str(count), f"{100 * share:.1f}") for (name, count), share in rows]

    def draw(self, picture: Image.Image) -> Image.Image:
        """Return the picture under the colours of the classes, with a legend in the upper left corner.

        A class that is called background gets no colour.
        """
        clear = self.clear_classes()
        opacity = [0 if number in (*clear, IGNORED) else _OPACITY for number in range(IGNORED + 1)]
        covers = Image.fromarray(self.mask).point(opacity)
        canvas = Image.composite(self.to_image().convert("RGB"), picture.convert("RGB"), covers)
        self._draw_legend(canvas, clear=clear)
        return canvas

    def clear_classes(self) -> list[int]:
        """Return the numbers of the classes that get no colour: those that are called background."""
        return [index for index, name in enumerate(self.names) if name.lower() == _CLEAR]

    def to_image(self) -> Image.Image:
        """Return the mask as a palette picture: its pixels are class numbers, its colours those of drawings."""
        image = Image.fromarray(self.mask)
        image.putpalette(bytes(value for colour in class_colours() for value in colour))
        return image

    def _counts(self) -> list[tuple[int, int]]:
        """Return the number and the pixels of every class that occurs, the largest first."""
        counts = np.bincount(self.mask.ravel(), minlength=IGNORED + 1)[: len(self.names)]
        order = np.argsort(-counts, kind="stable").tolist()
        return [(index, int(counts[index])) for index in order if counts[index]]

    def _shares(self) -> list[float]:
        counts = [count for _, count in self._counts()]
        return [count / sum(counts) for count in counts]

    def _draw_legend(self, canvas: Image.Image, *, clear: list[int]) -> None:
        if min(canvas.size) < _SMALLEST:
            return
        size = max(11, round(13 * min(canvas.size) / _REFERENCE_SIDE))
        row = size + 5
        room = canvas.width * _LEGEND_WIDTH - row - 6
        shown = [index for index, _ in self._counts() if index not in clear][: (canvas.height - 8) // row]
        if not shown:
            return
        lines: list[tuple[str, Font]] = [letter(self.names[index], size=size, width=int(room)) for index in shown]
        width = row + 6 + max(font.getlength(text) for text, font in lines)
        pen = ImageDraw.Draw(canvas)
        pen.rectangle((4, 4, 4 + width, 4 + row * len(lines)), fill=_PAPER)
        for number, (index, (text, font)) in enumerate(zip(shown, lines, strict=True)):
            top = 4 + row * number
            pen.rectangle((7, top + 3, 7 + row - 6, top + row - 3), fill=class_colours()[index])
            pen.text((4 + row + 1, top + row / 2), text, fill=_INK, font=font, anchor="lm")

    def _bars(self) -> list[Bar]:
        return [Bar(cast("str", entry["class"]), cast("float", entry["share"])) for entry in self.to_plain()]

    def __str__(self) -> str:
        bars = self._bars()
        return text_bars(bars) if bars else "no pixels"

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """Return a table with bars, as notebooks show it."""
        return html_bars(self._bars())
