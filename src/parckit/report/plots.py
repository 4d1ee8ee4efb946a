"""Pictures of results: confusion matrix, average precisions, training curve, latency bars.

Every function returns a `matplotlib.figure.Figure`. pyplot is not used, so no global state is left behind. No
information is shown by colour alone.
"""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parckit.measure.classification import class_rates
from parckit.measure.curve import CurveRow
from parckit.report.figures import BLUE, INK, MUTED, ON_BLUE, ORANGE, house_style, shorten

_WIDTH = 4.4
"""Width of an ordinary figure, inches. Words of 9 points can be read on a phone that shows it 320 pixels wide."""

_WIDE = 5.6
"""Width of a confusion matrix with many classes, inches."""

_RATES_WIDTH = 1.3
"""What precision, recall and F1 beside a confusion matrix add to its width, inches."""

_MAX_SMALL_CLASSES = 10
"""Confusion matrices with up to this number of classes have ordinary width."""

_MAX_COUNTED_CLASSES = 20
"""With up to this number of classes, a count of four digits at 6 points fits into a cell."""

_FAINTEST = 0.25
"""Opacity of the rarest mistake. A lower one would make a single cell among a hundred classes invisible."""

_NAME_LENGTH = 16
"""Letters of a class name that are shown."""

_MAX_NAMED_CLASSES = 40
"""With up to this number of classes, a class name at 6.5 points fits the height of its row."""


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
    # Colour the cells.
    width = _WIDTH if classes <= _MAX_SMALL_CLASSES else _WIDE
    is_named = classes <= _MAX_NAMED_CLASSES
    figure = Figure(figsize=(width + is_named * _RATES_WIDTH, width), layout="compressed")
    axes = figure.add_subplot()
    share = confusion / np.maximum(confusion.sum(axis=1, keepdims=True), 1)
    strength = np.where(confusion, _FAINTEST + (1 - _FAINTEST) * np.sqrt(share), 0)
    pixels = np.empty((classes, classes, 4))
    pixels[..., :3] = to_rgb(ORANGE)
    pixels[np.diag_indices(classes)] = (*to_rgb(BLUE), 1.0)
    # Weak cells are transparent, not white, so that they show the page's background, light or dark.
    pixels[..., 3] = strength
    axes.imshow(pixels)
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


def _name_classes(axes: Axes, labels: Sequence[str]) -> None:
    size = 9 if len(labels) <= _MAX_COUNTED_CLASSES else 6.5
    names = [shorten(label, length=_NAME_LENGTH) for label in labels]
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


@house_style()
def average_precisions(
    precisions: npt.NDArray[np.float64], images: npt.NDArray[np.int64], labels: Sequence[str]
) -> Figure:
    """Draw a bar for the average precision of every class, the lowest one at the top. A line shows their mean.

    Of more than 40 classes, the 40 with the lowest are shown. Classes without images are left out.

    Args:
        precisions: average precision of every class, percent; NaN without images.
        images: number of images that have the label.
        labels: class names by index.

    Raises:
        ValueError: if there is not one precision and one number for every label, or no class has images.
    """
    known = np.flatnonzero(images)
    if not len(precisions) == len(images) == len(labels) or not len(known):
        raise ValueError(f"got {len(precisions)} precisions and {len(images)} numbers of images, {len(known)} not 0")
    # Draw the bars and their numbers.
    shown = known[np.argsort(precisions[known], kind="stable")][:_MAX_NAMED_CLASSES]
    figure = Figure(figsize=(_WIDTH, 0.9 + 0.24 * len(shown)))
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(places, precisions[shown], height=0.7, color=BLUE)
    for place, index in zip(places, shown.tolist(), strict=True):
        # All numbers stand at the right, where the line of the mean does not cross them.
        axes.text(102, place, f"{precisions[index]:.1f}", va="center", color=INK)
    axes.axvline(float(np.mean(precisions[known])), color=ORANGE, linestyle="--", linewidth=1.2)
    # Name the bars.
    titles = [f"{shorten(label, length=_NAME_LENGTH)} ({count})" for label, count in zip(labels, images, strict=True)]
    names = [titles[index] for index in shown]
    axes.set_yticks(places, names, color=INK)
    axes.invert_yaxis()
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.set_xlim(0, 114)
    axes.set_xticks(range(0, 101, 20))
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    few = f"the {len(shown)} lowest of {len(known)} classes\n" if len(known) > len(shown) else ""
    axes.set_title(f"{few}dashed: mean of all classes", color=MUTED, fontweight="normal")
    axes.set_xlabel("average precision, %\n(in brackets: images)")
    return figure


_LEGEND_WIDTH = 24
"""Letters of names that fit side by side in the legend of a training curve; longer names stand below each other."""


@house_style()
def training_curve(rows: Sequence[CurveRow]) -> Figure:
    """Draw losses, validation metrics and learning rate over the optimizer steps. Missing values are left out.

    Every value `val_NAME` other than `val_loss` is a validation metric; higher is better. If there are many, those with
    the shortest names are drawn.

    Raises:
        ValueError: if the rows have none of these values.
    """
    # Collect the points of every line, and the lines of every panel.
    names = {name for row in rows for name in row.values}
    # As many metrics as there are styles: `val_map` comes before `val_map_50` and `val_map_small`.
    metrics = sorted(
        (name for name in names if name.startswith("val_") and name != "val_loss"), key=lambda x: (len(x), x)
    )
    metrics = metrics[: len(_METRIC_STYLES)]
    titles = {"loss": ["train_loss", "val_loss"], _VALIDATION: metrics, "learning rate": ["lr"]}
    lines = {
        title: {name: points for name in columns if (points := _points(rows, name))}
        for title, columns in titles.items()
    }
    panels = {title: shown for title, shown in lines.items() if shown}
    if not panels:
        raise ValueError(f"the {len(rows)} rows hold no loss, validation metric or learning rate")
    # Draw one panel below the other.
    figure = Figure(figsize=(_WIDTH, 0.5 + 1.7 * len(panels)))
    stack = figure.subplots(len(panels), sharex=True, squeeze=False)[:, 0]
    for axes, (title, shown) in zip(stack, panels.items(), strict=True):
        _draw_panel(axes, shown, title=title)
    stack[-1].set_xlabel("optimizer step")
    return figure


def _draw_panel(axes: Axes, lines: Mapping[str, Sequence[tuple[int, float]]], *, title: str) -> None:
    for number, (name, points) in enumerate(lines.items()):
        steps, values = zip(*points, strict=True)
        style = _STYLES.get(name, _METRIC_STYLES[number % len(_METRIC_STYLES)])
        (line,) = axes.plot(steps, values, label=_LEGENDS.get(name, name))
        line.set(**style)
    axes.set_title(title)
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.yaxis.set_major_formatter("{x:g}")
    if len(lines) > 1:
        letters = sum(len(_LEGENDS.get(name, name)) for name in lines)
        axes.legend(loc="best", ncols=len(lines) if letters <= _LEGEND_WIDTH else 1, fontsize="small")
    elif title == _VALIDATION:
        ((name, points),) = lines.items()
        step, best = max(points, key=lambda point: point[1])
        axes.set_title(f"{name}: best {best:.2f} at step {step}")
        axes.plot(step, best, "o", color=BLUE, markersize=7)


_VALIDATION = "validation"
_LEGENDS = {"train_loss": "training", "val_loss": "validation"}
_MARKED = {"marker": "o", "markersize": 3.5}
_STYLES: Mapping[str, dict[str, object]] = {
    "train_loss": {"color": MUTED, "linewidth": 0.9},
    "val_loss": {"color": ORANGE, **_MARKED},
    "lr": {"color": MUTED},
}
_METRIC_STYLES: tuple[dict[str, object], ...] = (
    {"color": BLUE, **_MARKED},
    {"color": ORANGE, "linestyle": "--", **_MARKED},
    {"color": INK, "linestyle": ":", **_MARKED},
)
"""Styles of the lines of validation metrics. They differ not only in colour but also in the kind of line."""


def _points(rows: Sequence[CurveRow], name: str) -> list[tuple[int, float]]:
    values = [(row.step, row.values[name]) for row in rows if name in row.values]
    return [(step, value) for step, value in values if np.isfinite(value)]


@house_style()
def latency_bars(names: Sequence[str], *, p50_ms: Sequence[float], p95_ms: Sequence[float]) -> Figure:
    """Draw one bar per name: its length is the median latency, and a whisker reaches to the 95th percentile.

    Args:
        names: names of the bars, one or two lines of text.
        p50_ms: median latencies, milliseconds.
        p95_ms: 95th percentiles, milliseconds.

    Raises:
        ValueError: if the sequences are empty or differ in length.
    """
    if not len(names) == len(p50_ms) == len(p95_ms) > 0:
        raise ValueError(
            f"got {len(names)} names, {len(p50_ms)} p50_ms, {len(p95_ms)} p95_ms; equal numbers are needed"
        )
    # Draw the bars and their numbers.
    figure = Figure(figsize=(_WIDTH, 0.8 + 0.55 * len(names)))
    axes = figure.add_subplot()
    places = range(len(names))
    axes.barh(places, p50_ms, height=0.55, color=BLUE)
    axes.hlines(places, p50_ms, p95_ms, color=MUTED, linewidth=2)
    axes.plot(p95_ms, places, "|", color=MUTED, markersize=9, markeredgewidth=2)
    for place, median, tail in zip(places, p50_ms, p95_ms, strict=True):
        axes.annotate(f"p50 {median:.3g}", (tail, place), (6, 0), textcoords="offset points", va="center")
    # Name the bars.
    short_names = ["\n".join(shorten(line, length=22) for line in name.split("\n")) for name in names]
    axes.set_yticks(places, short_names, color=INK)
    axes.invert_yaxis()
    # Leave room for the number to the right of the longest whisker.
    axes.set_xlim(0, max(p95_ms) * 1.3)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("ms: bar to the median,\nwhisker to the 95th percentile")
    return figure
