"""Precision-recall curves of a detector."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from parckit.processing import COLOURS
from parckit.report.figures import INK, MUTED, house_style, shorten

_MOST_CURVES = 8
"""Most classes with a curve of their own: as many as there are colours that can be told apart."""
_DASHES = ("-", "--", ":", "-.")
"""Curves differ in their dashes too, so that no information is shown by colour alone."""
_NAME_LENGTH = 16


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
    figure = Figure(figsize=(4.4, 4.2))
    axes = figure.add_subplot()
    shown = known[np.argsort(average[known], kind="stable")][:_MOST_CURVES]
    for number, index in enumerate(shown.tolist()):
        name = shorten(str(labels[index]), length=_NAME_LENGTH)
        label = f"{name}, {average[index]:.0f} %"
        style = _DASHES[number // 2 % len(_DASHES)]
        axes.plot(recall, precision[:, index], style, color=COLOURS[number], linewidth=1.3, label=label)
    mean = f"mean of {len(known)} classes, {np.mean(average[known]):.0f} %"
    axes.plot(recall, precision[:, known].mean(axis=1), color=INK, linewidth=2.6, label=mean)
    axes.set(xlabel="recall", ylabel="precision", xlim=(0, 1), ylim=(0, 1.02))
    axes.set_title("boxes that overlap at least by half", color=MUTED, fontweight="normal")
    axes.legend(loc="best", fontsize=8)
    return figure
