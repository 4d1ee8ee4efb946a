"""Results as bars: the average precision of every class."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from parckit.report.figures import (
    BLUE,
    INK,
    MAX_NAMED_CLASSES,
    MUTED,
    NAME_LENGTH,
    ORANGE,
    WIDTH,
    house_style,
    shorten,
)


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
    shown = known[np.argsort(precisions[known], kind="stable")][:MAX_NAMED_CLASSES]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.24 * len(shown)))
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh(places, precisions[shown], height=0.7, color=BLUE)
    for place, index in zip(places, shown.tolist(), strict=True):
        # All numbers stand at the right, where the line of the mean does not cross them.
        axes.text(102, place, f"{precisions[index]:.1f}", va="center", color=INK)
    axes.axvline(float(np.mean(precisions[known])), color=ORANGE, linestyle="--", linewidth=1.2)
    # Name the bars.
    titles = [f"{shorten(label, length=NAME_LENGTH)} ({count})" for label, count in zip(labels, images, strict=True)]
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
