"""The confusion matrix. No information is shown by colour alone."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parckit.measure.classification import class_rates
from parckit.report.figures import (
    BLUE,
    INK,
    MAX_NAMED_CLASSES,
    MUTED,
    NAME_LENGTH,
    ON_BLUE,
    ORANGE,
    WIDTH,
    house_style,
    shorten,
)

_WIDE = 5.6
"""Width of a matrix with many classes, inches."""
_RATES_WIDTH = 1.3
"""What precision, recall and F1 beside the matrix add to its width, inches."""
_MAX_SMALL_CLASSES = 10
"""Matrices with up to this number of classes have ordinary width."""
_MAX_COUNTED_CLASSES = 20
"""With up to this number of classes, a count of four digits at 6 points fits into a cell."""
_FAINTEST = 0.25
"""Opacity of the rarest mistake. A lower one would make a single cell among a hundred classes invisible."""


@house_style()
def confusion_matrix(
    confusion: npt.NDArray[np.int64],
    labels: Sequence[str],
    *,
    extra: str | None = None,
    in_percent: bool = False,
) -> Figure:
    """Draw a confusion matrix. The strength of a cell's colour is the square root of its share of the row.

    The square root keeps rare mistakes visible. With up to 20 classes the cells show numbers. With up to 40 classes the
    rows and columns have names, and precision, recall and F1 of the class, in percent, stand beside the row. With more
    classes only the pattern is shown.

    Args:
        confusion: number of images, objects or pixels by true class (row) and predicted class (column).
        labels: class names by index.
        extra: what a last row and column stand for, such as the background of boxes around nothing and missed objects;
            None if there are none.
        in_percent: the cells show whole percents of their row in place of counts.

    Shape:
        confusion: (C, C), or (C + 1, C + 1) with an extra row and column

    Raises:
        ValueError: if `confusion` has another number of rows or columns.
    """
    named = len(labels)
    labels = labels if extra is None else (*labels, extra)
    classes = len(labels)
    if confusion.shape != (classes, classes):
        raise ValueError(f"confusion has shape {confusion.shape}; {classes} labels need ({classes}, {classes})")
    is_named = classes <= MAX_NAMED_CLASSES
    width = WIDTH if classes <= _MAX_SMALL_CLASSES else _WIDE
    figure = Figure(figsize=(width + is_named * _RATES_WIDTH, width), layout="compressed")
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    strength = np.where(confusion, _FAINTEST + (1 - _FAINTEST) * np.sqrt(share), 0)
    axes.imshow(_coloured(strength))
    # Write names and counts.
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title("blue diagonal: right; orange elsewhere: wrong", color=MUTED, fontweight="normal")
    axes.spines[:].set_visible(True)
    axes.grid(visible=False)
    if is_named:
        _name_classes(axes, labels)
        _write_rates(axes, confusion, classes=named)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if classes <= _MAX_COUNTED_CLASSES:
        numbers = (100 * share).round().astype(np.int64) if in_percent else confusion
        _write_numbers(axes, numbers, strength=strength)
    return figure


def _coloured(strength: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the cells in colour: blue on the diagonal, and orange elsewhere.

    Weak cells are transparent, not white, so that they show the page's background, light or dark.

    Shape:
        (C, C) -> (C, C, 4)
    """
    pixels = np.empty((*strength.shape, 4))
    pixels[..., :3] = to_rgb(ORANGE)
    pixels[np.diag_indices(len(strength))] = (*to_rgb(BLUE), 1.0)
    pixels[..., 3] = strength
    return pixels


def _name_classes(axes: Axes, labels: Sequence[str]) -> None:
    size = 9 if len(labels) <= _MAX_COUNTED_CLASSES else 6.5
    names = [shorten(label, length=NAME_LENGTH) for label in labels]
    ticks = range(len(labels))
    # About 60 characters fit side by side below the matrix. Longer names are turned.
    upright = max(map(len, names)) * len(labels) <= 60
    axes.set_xticks(ticks, names, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xticks(np.arange(0.5, len(labels) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(labels) - 1), minor=True)
    axes.grid(which="minor", axis="both", linewidth=0.6)


def _write_rates(axes: Axes, confusion: npt.NDArray[np.int64], *, classes: int) -> None:
    """Write precision, recall and F1 of every class at the right end of its row. The background has none."""
    size = 8 if classes <= _MAX_COUNTED_CLASSES else 6.5
    _, *rates = class_rates(confusion)
    shown = ["  ".join(map(_aligned, row)) for row in zip(*rates, strict=True)][:classes]
    right = axes.secondary_yaxis("right")
    right.set_yticks(range(classes), shown, fontsize=size)
    right.set_ylabel("precision, recall and F1, %", labelpad=8)
    right.spines[:].set_visible(False)


def _aligned(rate: float) -> str:
    """Return a rate as three characters of equal width: a figure space is as wide as a digit."""
    return ("–" if np.isnan(rate) else f"{rate:.0f}").rjust(3, "\u2007")


def _write_numbers(axes: Axes, numbers: npt.NDArray[np.int64], *, strength: npt.NDArray[np.float64]) -> None:
    # With 20 classes the font has 6 points.
    size = min(9.0, 120 / len(numbers))
    for row, column in np.argwhere(numbers):
        # On strong colours white is easier to read.
        color = ON_BLUE if strength[row, column] > 0.8 else INK
        axes.text(column, row, str(numbers[row, column]), color=color, fontsize=size, ha="center", va="center")
