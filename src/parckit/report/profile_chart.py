"""A network's time as bars: by operator, and of the layers that take the most."""

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parckit.measure.profiling import Profile
from parckit.report.figures import BLUE, INK, WIDTH, house_style, shorten

_MOST_BARS = 12
"""Operators, and layers, that are drawn: as many as can be read."""
_NAME = 24
"""Letters of a layer's name that are shown."""


@house_style()
def profile_bars(profile: Profile, *, title: str) -> Figure:
    """Draw two panels: the time by operator, and the layers that take the most time.

    Beside a bar stand its milliseconds, its share of the time and, for convolutions and matrix products, the share of
    the ceiling that it reaches.

    Args:
        profile: what is drawn.
        title: of the figure.
    """
    kinds = [(f"{kind.kind} ({kind.layers})", kind.milliseconds, kind.madds) for kind in profile.kinds()]
    slowest = sorted(profile.layers, key=lambda layer: -layer.milliseconds)
    layers = [(f"{layer.name}: {layer.kind}", layer.milliseconds, layer.madds) for layer in slowest]
    panels = {"by operator (number of layers)": kinds, "the slowest layers": layers}
    heights = [min(len(bars), _MOST_BARS) + 1.5 for bars in panels.values()]
    figure = Figure(figsize=(1.15 * WIDTH, 0.9 + 0.23 * sum(heights)))
    stack = figure.subplots(len(panels), squeeze=False, height_ratios=heights)[:, 0]
    for axes, (heading, bars) in zip(stack, panels.items(), strict=True):
        shown, rest = bars[:_MOST_BARS], bars[_MOST_BARS:]
        _draw_bars(axes, shown, profile)
        others = f"; {len(rest)} others: {sum(milliseconds for _, milliseconds, _ in rest):.3g} ms" if rest else ""
        axes.set_title(heading + others)
    figure.suptitle(shorten(title, length=60), fontsize=9, color=INK, x=0.01, ha="left")
    stack[-1].set_xlabel(
        f"ms, share of the time, and share of the ceiling, which\nis {profile.ceiling_gflops:.0f} GFLOP/s with "
        f"{profile.threads} thread{'' if profile.threads == 1 else 's'}"
    )
    return figure


def _draw_bars(axes: Axes, shown: Sequence[tuple[str, float, int | None]], profile: Profile) -> None:
    places = range(len(shown))
    axes.barh(places, [milliseconds for _, milliseconds, _ in shown], height=0.7, color=BLUE)
    for place, (_, milliseconds, madds) in zip(places, shown, strict=True):
        share = profile.share_of_ceiling(madds, milliseconds)
        ceiling = "" if share is None else f", ceiling {share:.0%}"
        words = f"{milliseconds:.3g} ms, {milliseconds / profile.layers_ms:.0%}{ceiling}"
        axes.annotate(words, (milliseconds, place), (4, 0), textcoords="offset points", va="center", fontsize=7.5)
    axes.set_yticks(places, [shorten(name, length=_NAME) for name, _, _ in shown], color=INK, fontsize=7.5)
    axes.invert_yaxis()
    # Leave room for the words to the right of the longest bar.
    axes.set_xlim(0, max(milliseconds for _, milliseconds, _ in shown) * 1.8)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
