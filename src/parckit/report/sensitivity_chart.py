"""What the quantization of every node of a network costs, as bars."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from parckit.report.figures import BLUE, INK, MUTED, ORANGE, WIDTH, house_style, shorten

_MOST_BARS = 30
"""Nodes that are drawn: as many as can be read."""
_NAME = 34
"""Letters of a node's name that are shown."""


class NodeError(NamedTuple):
    """The error of a network in which one node is quantized, or all but one.

    Attributes:
        name: the node and its operator.
        alone: signal-to-noise ratio of the outputs if only this node is quantized, decibels.
        without: the same if all nodes are quantized but this one.
    """

    name: str
    alone: float
    without: float


@house_style()
def node_errors(errors: Sequence[NodeError], *, all_quantized: float, title: str) -> Figure:
    """Draw two bars for each of the worst nodes: only it is quantized, and only it stays in float32.

    Short blue bars are nodes that break a network; orange bars beyond the line are nodes whose raise helps.

    Args:
        errors: the nodes, the worst first.
        all_quantized: signal-to-noise ratio if all nodes are quantized, decibels.
        title: of the figure.

    Raises:
        ValueError: if there is no node.
    """
    if not errors:
        raise ValueError("no node to draw")
    shown = errors[:_MOST_BARS]
    figure = Figure(figsize=(1.15 * WIDTH, 1.3 + 0.27 * len(shown)))
    axes = figure.add_subplot()
    places = range(len(shown))
    axes.barh([place - 0.19 for place in places], [error.alone for error in shown], height=0.36, color=BLUE)
    axes.barh([place + 0.19 for place in places], [error.without for error in shown], height=0.36, color=ORANGE)
    axes.axvline(all_quantized, color=INK, linestyle="--", linewidth=1.0)
    axes.set_yticks(places, [shorten(error.name, length=_NAME) for error in shown], color=INK, fontsize=7.5)
    axes.set_ylim(len(shown) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    few = f"the {len(shown)} worst of {len(errors)} nodes\n" if len(errors) > len(shown) else ""
    axes.set_title(f"{few}blue: only it in 8 bits; orange: all but it", color=MUTED, fontweight="normal")
    axes.set_xlabel("signal-to-noise ratio, dB (more is better)\ndashed: all nodes in 8 bits")
    figure.suptitle(shorten(title, length=60), fontsize=9, color=INK, x=0.01, ha="left")
    return figure
