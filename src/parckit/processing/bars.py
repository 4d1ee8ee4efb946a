"""Bars beside names: how a picture, a terminal and a notebook show the probabilities of classes."""

import html
from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from parckit.processing.lettering import letter

_BAR_CHARACTERS = 20
"""Length of a bar that stands for 100 %, in a terminal."""
_CANVAS_WIDTH = 480
"""Least width of a drawing, pixels: room for names, bars and numbers."""
_ROW_HEIGHT = 28
_FONT_SIZE = 16
_PAPER, _INK, _BAR, _FAINT = "#fdfdfd", "#1c2530", "#0072b2", "#a9b4bf"


class Bar(NamedTuple):
    """A row of a drawing.

    Attributes:
        label: name of the class.
        probability: length of the bar, 0 to 1; None if there is none.
        threshold: where the bar gets a mark, 0 to 1; None without a mark.
        is_faint: whether the class is not part of the answer.
    """

    label: str
    probability: float | None
    threshold: float | None = None
    is_faint: bool = False

    @property
    def share(self) -> str:
        """The probability in words; empty if there is none."""
        return "" if self.probability is None else f"{100 * self.probability:.1f} %"


def draw_bars(picture: Image.Image, bars: Sequence[Bar], *, rows: int = 0) -> Image.Image:
    """Return the picture with the bars below it, and room for `rows` bars at least."""
    width = max(picture.width, _CANVAS_WIDTH)
    canvas = Image.new("RGB", (width, picture.height + _ROW_HEIGHT * max(len(bars), rows) + 8), _PAPER)
    canvas.paste(picture.convert("RGB"), ((width - picture.width) // 2, 0))
    pen, font = ImageDraw.Draw(canvas), ImageFont.load_default(_FONT_SIZE)
    left, right = width * 2 // 5, width - 80
    for number, bar in enumerate(bars):
        top = picture.height + 4 + _ROW_HEIGHT * number
        name, name_font = letter(bar.label, size=_FONT_SIZE, width=left - 16)
        pen.text((left - 8, top + _ROW_HEIGHT // 2), name, fill=_INK, font=name_font, anchor="rm")
        mark = None if bar.threshold is None else left + round((right - left) * bar.threshold)
        if bar.probability is not None:
            end = left + round((right - left) * bar.probability)
            pen.rectangle((left, top + 5, end, top + _ROW_HEIGHT - 5), fill=_FAINT if bar.is_faint else _BAR)
            # The number stands behind bar and mark.
            place = max(end, end if mark is None else mark) + 8
            pen.text((place, top + _ROW_HEIGHT // 2), bar.share, fill=_INK, font=font, anchor="lm")
        if mark is not None:
            pen.line((mark, top + 2, mark, top + _ROW_HEIGHT - 2), fill=_INK, width=2)
    return canvas


def text_bars(bars: Sequence[Bar]) -> str:
    """Return the bars as lines for a terminal."""
    width = max(len(bar.label) for bar in bars)
    lines = [
        bar.label
        if bar.probability is None
        else f"{bar.label:{width}}  {bar.share:>7}  {'█' * round(_BAR_CHARACTERS * bar.probability)}"
        for bar in bars
    ]
    return "\n".join(line.rstrip() for line in lines)


def html_bars(bars: Sequence[Bar]) -> str:
    """Return the bars as a table for a notebook."""
    rows = "".join(f"<tr><td>{html.escape(bar.label)}</td><td>{_html_bar(bar)}</td></tr>" for bar in bars)
    return f"<table>{rows}</table>"


def _html_bar(bar: Bar) -> str:
    if bar.probability is None:
        return ""
    colour = _FAINT if bar.is_faint else _BAR
    style = f"display:inline-block;height:.7em;background:{colour};width:{10 * bar.probability:.2f}em"
    return f'<div style="{style}"></div> {bar.share}'
