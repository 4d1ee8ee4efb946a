"""Accuracy over latency, with the Pareto front."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from parckit.measure.interleaved import Interval
from parckit.report.figures import BLUE, INK, MUTED, ORANGE, WIDTH, house_style, shorten

_NAME = 60
"""Letters of a candidate's name that are shown."""
_MARGIN = 0.12
"""Room around the points, as a share of their range."""


@house_style()
def pareto_scatter(
    image_times: Mapping[str, Interval], scores: Mapping[str, float], *, front: Sequence[str], score: str
) -> Figure:
    """Draw a point for each candidate, with the interval of its time for an image, and a line through the Pareto front.

    A number stands beside every point, and the legend below says whose it is. Candidates on the front are filled discs,
    the others empty ones.

    Args:
        image_times: name of the candidate -> its time for one image, milliseconds.
        scores: name of the candidate -> its score, percent.
        front: the candidates that no other one beats.
        score: what the score is.

    Raises:
        ValueError: if there is no candidate, or the names differ.
    """
    if not image_times or image_times.keys() != scores.keys():
        raise ValueError(f"got {len(image_times)} times and {len(scores)} scores; the same names are needed")
    ordered = sorted(image_times, key=lambda name: image_times[name].median)
    figure = Figure(figsize=(1.3 * WIDTH, 3.6 + 0.2 * len(ordered)))
    axes = figure.add_subplot()
    # Draw the front as steps: it is the best score that a time allows.
    steps = [name for name in ordered if name in front]
    medians = [image_times[name].median for name in steps]
    axes.step(medians, [scores[name] for name in steps], where="post", color=ORANGE, linestyle="--", linewidth=1.2)
    # Draw the points.
    for number, name in enumerate(ordered, start=1):
        time = image_times[name]
        axes.hlines(scores[name], time.low, time.high, color=MUTED, linewidth=2)
        filling = BLUE if name in front else "none"
        label = f"{number}  {shorten(name, length=_NAME)}{'' if name in front else ' (beaten)'}"
        axes.scatter(time.median, scores[name], s=36, facecolor=filling, edgecolor=BLUE, zorder=3, label=label)
        place = (time.median, scores[name])
        axes.annotate(str(number), place, (5, 5), textcoords="offset points", color=INK, fontweight="bold")
    axes.margins(_MARGIN)
    axes.set_xlim(left=0)
    axes.grid(axis="x")
    axes.set_xlabel("time for one image, ms: median, and its interval of 95 %")
    axes.set_ylabel(f"{score}, %")
    axes.set_title("dashed: the front, which no other candidate beats", color=MUTED, fontweight="normal")
    figure.legend(loc="outside lower left", fontsize=7.5)
    return figure
