"""Pictures of results: confusion matrix, training curve, sample predictions, latency bars.

Every function returns a `matplotlib.figure.Figure`; pyplot is not used and no global state is left behind.
Nothing is said by colour alone.
"""

from collections.abc import Sequence
from typing import cast

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parckit.measure.curve import CurveRow
from parckit.measure.figures import BLUE, INK, MUTED, ON_BLUE, ORANGE, RULE, house_style

_COLUMN = 5.6
"""Width of an ordinary figure, inches: about 540 CSS pixels, one column of the report."""

_PAGE = 11.4
"""Width of a figure that spans the report, inches."""

_MAX_COUNTED_CLASSES = 20
"""Up to here a four-digit count still fits a cell at 6 points."""

_FAINTEST = 0.25
"""Opacity of the rarest mistake: the least that shows as a dot among a hundred classes."""

_MAX_NAMED_CLASSES = 40
"""Up to here a class name at 6.5 points fits the height of its row."""


@house_style()
def confusion_matrix(confusion: npt.NDArray[np.int64], labels: Sequence[str]) -> Figure:
    """Draw a confusion matrix; a cell's strength is its share of the row.

    The scale follows the share's square root, which keeps rare mistakes visible. Counts stand in the cells up to 20
    classes, names beside the rows up to 40; beyond, only the pattern is shown.

    Args:
        confusion: number of images by (true class, predicted class).
        labels: class names by index.

    Shape:
        confusion: (C, C)

    Raises:
        ValueError: if `confusion` is not square with a row for each label.
    """
    classes = len(labels)
    if confusion.shape != (classes, classes):
        raise ValueError(f"confusion has shape {confusion.shape}; {classes} labels need ({classes}, {classes})")
    figure = Figure(figsize=(_COLUMN, _COLUMN))
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    strength = np.where(confusion, _FAINTEST + (1 - _FAINTEST) * np.sqrt(share), 0)
    pixels = np.empty((classes, classes, 4))
    pixels[..., :3] = to_rgb(ORANGE)
    pixels[np.diag_indices(classes)] = (*to_rgb(BLUE), 1.0)
    pixels[..., 3] = strength  # transparency, not white, so that an empty cell is the page in light and dark
    axes.imshow(pixels)
    axes.set(xlabel="predicted class", ylabel="true class")
    axes.set_title("blue diagonal: right; orange elsewhere: wrong", color=MUTED, fontweight="normal")
    axes.spines[:].set_visible(True)
    axes.grid(visible=False)
    if classes <= _MAX_NAMED_CLASSES:
        _name_classes(axes, labels)
    else:
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.yaxis.set_major_locator(MaxNLocator(integer=True))
    if classes <= _MAX_COUNTED_CLASSES:
        _write_counts(axes, confusion, strength=strength)
    return figure


def _name_classes(axes: Axes, labels: Sequence[str]) -> None:
    size = 9 if len(labels) <= _MAX_COUNTED_CLASSES else 6.5
    names = [_shorten(label) for label in labels]
    ticks = range(len(labels))
    upright = max(map(len, names)) * len(labels) <= 60  # characters that fit side by side under the matrix
    axes.set_xticks(ticks, names, rotation=0 if upright else 90, fontsize=size)
    axes.set_yticks(ticks, names, fontsize=size)
    axes.set_xticks(np.arange(0.5, len(labels) - 1), minor=True)
    axes.set_yticks(np.arange(0.5, len(labels) - 1), minor=True)
    axes.grid(which="minor", axis="both", linewidth=0.6)


def _write_counts(axes: Axes, confusion: npt.NDArray[np.int64], *, strength: npt.NDArray[np.float64]) -> None:
    size = min(11.0, 120 / len(confusion))  # 11 is the largest that looks calm, 6 points remain at 20 classes
    for row, column in np.argwhere(confusion):
        # From this strength on white is the more legible ink on a filled cell.
        color = ON_BLUE if strength[row, column] > 0.8 else INK
        axes.text(column, row, str(confusion[row, column]), color=color, fontsize=size, ha="center", va="center")


@house_style()
def training_curve(rows: Sequence[CurveRow]) -> Figure:
    """Draw losses, validation accuracy and learning rate over the optimizer steps; what no row holds is left out.

    Raises:
        ValueError: if the rows hold nothing to draw.
    """
    lines = {column: points for column in _LINES if (points := _points(rows, column))}
    panels = [(title, shown) for title, columns in _PANELS if (shown := [name for name in columns if name in lines])]
    if not panels:
        raise ValueError(f"none of the {len(rows)} rows holds a value of {', '.join(_LINES)}")
    figure = Figure(figsize=(_COLUMN, 0.5 + 1.7 * len(panels)))
    stack = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, columns) in zip(stack, panels, strict=True):
        for column in columns:
            axes.plot(*zip(*lines[column], strict=True), **_LINES[column])
        axes.set_title(title)
        axes.yaxis.set_major_locator(MaxNLocator(4))
        axes.yaxis.set_major_formatter("{x:g}")
        if len(columns) > 1:
            axes.legend(loc="upper right", ncols=len(columns))
        if "val_top1" in columns:
            step, best = max(lines["val_top1"], key=lambda point: point[1])
            axes.set_title(f"{title}: best {best:.2f} at step {step}")
            axes.plot(step, best, "o", color=BLUE, markersize=7)
    stack[-1].set_xlabel("optimizer step")
    return figure


_PANELS = (
    ("loss", ("train_loss", "val_loss")),
    ("validation top-1, %", ("val_top1",)),
    ("learning rate", ("lr",)),
)

_LINES: dict[str, dict[str, object]] = {
    "train_loss": {"color": MUTED, "linewidth": 0.9, "label": "training"},
    "val_loss": {"color": ORANGE, "marker": "o", "markersize": 3.5, "label": "validation"},
    "val_top1": {"color": BLUE, "marker": "o", "markersize": 3.5},
    "lr": {"color": MUTED},
}


def _points(rows: Sequence[CurveRow], column: str) -> list[tuple[int, float]]:
    values = [(row.step, cast("float | None", getattr(row, column))) for row in rows]
    return [(step, value) for step, value in values if value is not None and np.isfinite(value)]


@house_style()
def sample_predictions(
    images: Sequence[npt.NDArray[np.uint8]],
    *,
    truths: Sequence[str],
    predictions: Sequence[str],
    confidences: Sequence[float],
    limit: int = 24,
) -> Figure:
    """Draw a grid of images with their predictions: first the mistakes, the surest ahead, framed and marked by a cross.

    Args:
        images: pixels as they are to be shown, at least one.
        truths: true class names.
        predictions: predicted class names.
        confidences: probabilities of the predictions, 0..1.
        limit: most images to draw.

    Shape:
        images: (H, W, 3) RGB or (H, W) grey, each of its own size

    Raises:
        ValueError: if there is no image, or the four differ in length.
    """
    samples = list(zip(images, truths, predictions, confidences, strict=True))
    if not samples:
        raise ValueError("images is empty; at least one is needed")
    wrong = sorted((sample for sample in samples if sample[1] != sample[2]), key=lambda sample: -sample[3])
    right = [sample for sample in samples if sample[1] == sample[2]]
    shown = (wrong + right)[:limit]
    rows = -(-len(shown) // _TILES_PER_ROW)
    figure = Figure(figsize=(_PAGE, 1.85 * rows))
    tiles = figure.subplots(rows, _TILES_PER_ROW, squeeze=False).flat
    for axes in tiles[len(shown) :]:
        axes.set_axis_off()
    for axes, (image, truth, prediction, confidence) in zip(tiles, shown, strict=False):
        axes.imshow(image, cmap="gray", vmin=0, vmax=255)
        axes.grid(visible=False)
        axes.set(xticks=[], yticks=[])
        _caption_tile(axes, truth=truth, prediction=prediction, confidence=confidence)
    return figure


def _caption_tile(axes: Axes, *, truth: str, prediction: str, confidence: float) -> None:
    if truth == prediction:
        mark, told, color, frame = "✓", f"{confidence:.0%}", INK, {"color": RULE, "linewidth": 1}
    else:
        mark, told = "✗", f"is {_shorten(truth)}\n{confidence:.0%}"
        color, frame = ORANGE, {"color": ORANGE, "linewidth": 3}
    axes.set_title(f"{mark} {_shorten(prediction)}", color=color, fontweight="normal")
    axes.set_xlabel(told, loc="left", fontsize=8)
    axes.spines[:].set(visible=True, **frame)


_TILES_PER_ROW = 8
"""Tiles of about 1.3 inches, which leave room for a short class name, fill the page's width."""


@house_style()
def latency_bars(names: Sequence[str], *, p50_ms: Sequence[float], p95_ms: Sequence[float]) -> Figure:
    """Draw a bar a configuration: its median latency, with a whisker to the 95th percentile; milliseconds.

    Raises:
        ValueError: if the sequences are empty or differ in length.
    """
    if not len(names) == len(p50_ms) == len(p95_ms) > 0:
        raise ValueError(
            f"got {len(names)} names, {len(p50_ms)} p50_ms, {len(p95_ms)} p95_ms; equal numbers are needed"
        )
    figure = Figure(figsize=(_COLUMN, 0.8 + 0.55 * len(names)))
    axes = figure.add_subplot()
    places = range(len(names))
    axes.barh(places, p50_ms, height=0.55, color=BLUE)
    axes.hlines(places, p50_ms, p95_ms, color=MUTED, linewidth=2)
    axes.plot(p95_ms, places, "|", color=MUTED, markersize=9, markeredgewidth=2)
    for place, median, tail in zip(places, p50_ms, p95_ms, strict=True):
        axes.annotate(f"{median:.3g}", (tail, place), (6, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, [_shorten(name, length=28) for name in names], color=INK)
    axes.invert_yaxis()
    axes.set_xlim(0, max(p95_ms) * 1.15)  # room for the number behind the longest whisker
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("ms: bar to the median, whisker to the 95th percentile")
    return figure


def _shorten(name: str, *, length: int = 16) -> str:
    return name if len(name) <= length else name[: length - 1] + "…"
