"""Results as curves: a training over its steps, and the precision of a detector at every recall."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from parckit.measure.curve import CurveRow
from parckit.processing import COLOURS
from parckit.report.figures import BLUE, INK, MUTED, NAME_LENGTH, ORANGE, WIDTH, house_style, shorten

_MOST_CURVES = 8
"""Most classes with a curve of their own: as many as there are colours that can be told apart."""
_DASHES = ("-", "--", ":", "-.")
"""Curves differ in their dashes too, so that no information is shown by colour alone."""
_LEGEND_WIDTH = 24
"""Letters of names that fit side by side in the legend of a training curve; longer names stand below each other."""
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


@house_style()
def precision_recall(
    precision: npt.NDArray[np.float64], average: npt.NDArray[np.float64], labels: Sequence[str]
) -> Figure:
    """Draw the precision at every recall: a thick line for the mean of all classes, and a line for single classes.

    Of more than eight classes, the eight with the lowest average precision have a line. Classes without objects are
    left out.

    Args:
        precision: precision at the recalls 0, 0.01, ... 1, from 0 to 1; NaN for classes without objects.
        average: average precision of every class, percent; NaN for classes without objects.
        labels: class names by index.

    Shape:
        precision: (101, classes)
        average: (classes,)

    Raises:
        ValueError: if the shapes do not fit, or no class has objects.
    """
    known = np.flatnonzero(~np.isnan(average))
    if precision.shape != (101, len(labels)) or len(average) != len(labels) or not len(known):
        raise ValueError(f"precision {precision.shape}, average {average.shape}: {len(known)} of {len(labels)} classes")
    recall = np.linspace(0, 1, 101)
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.add_subplot()
    shown = known[np.argsort(average[known], kind="stable")][:_MOST_CURVES]
    for number, index in enumerate(shown.tolist()):
        name = shorten(str(labels[index]), length=NAME_LENGTH)
        label = f"{name}, {average[index]:.0f} %"
        style = _DASHES[number // 2 % len(_DASHES)]
        axes.plot(recall, precision[:, index], style, color=COLOURS[number], linewidth=1.3, label=label)
    mean = f"mean of {len(known)} classes, {np.mean(average[known]):.0f} %"
    axes.plot(recall, precision[:, known].mean(axis=1), color=INK, linewidth=2.6, label=mean)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("boxes that overlap at least by half", color=MUTED, fontweight="normal")
    axes.legend(loc="best", fontsize=8)
    return figure


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
    figure = Figure(figsize=(WIDTH, 0.5 + 1.7 * len(panels)))
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


def _points(rows: Sequence[CurveRow], name: str) -> list[tuple[int, float]]:
    values = [(row.step, row.values[name]) for row in rows if name in row.values]
    return [(step, value) for step, value in values if np.isfinite(value)]
