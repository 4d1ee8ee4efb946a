"""Speed as pictures: latencies, streams at the same time, and the parts of an answer."""

from collections.abc import Mapping, Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from parckit.measure.interleaved import Interval
from parckit.measure.stages import Stages
from parckit.measure.timings import StreamTiming, Timing
from parckit.processing import COLOURS
from parckit.report.figures import BLUE, INK, MUTED, ORANGE, WIDTH, house_style, shorten

_NAME = 24
"""Letters of a line of a name that are shown."""
_DASHES = ("-", "--", ":", "-.")
_MARKERS = "osv^Dxph"
"""Lines differ in dashes and marks too, so that no information is shown by colour alone."""
_STAGES = (("preprocessing", MUTED, "//"), ("network", BLUE, ""), ("decoding", ORANGE, ".."))
"""Name, colour and pattern of the parts of an answer."""


@house_style()
def latency_bars(timings: Sequence[tuple[str, Timing]]) -> Figure:
    """Draw one bar per timing, up to the median time for one image.

    A dark line at its end is the interval of the median, and a whisker reaches to the 99th percentile, if there were
    enough runs for one.

    Args:
        timings: names, one or two lines of text, and what was measured.

    Raises:
        ValueError: if there are none.
    """
    axes, figure = _rows([name for name, _ in timings])
    for place, (_, timing) in enumerate(timings):
        median, interval, p99 = _image_times(timing)
        axes.barh(place, median, height=0.55, color=BLUE)
        if p99 is not None:
            axes.hlines(place, median, p99, color=MUTED, linewidth=1.5)
            axes.plot(p99, place, "|", color=MUTED, markersize=9, markeredgewidth=2)
        if interval is not None:
            axes.hlines(place, interval.low, interval.high, color=INK, linewidth=3.5)
        end = _end(timing)
        text = f"p50 {median:.3g}"
        axes.annotate(text, (end, place), (6, 0), textcoords="offset points", va="center", color=INK)
    # Leave room for the number to the right of the longest whisker.
    axes.set_xlim(0, max(_end(timing) for _, timing in timings) * 1.35)
    axes.set_xlabel("ms for one image: bar to the median, dark: its interval of 95 %,\nwhisker to the 99th percentile")
    return figure


@house_style()
def stage_bars(stages: Sequence[tuple[str, Stages]]) -> Figure:
    """Draw one bar per candidate: preprocessing, network and decoding side by side.

    Args:
        stages: names, one or two lines of text, and what was measured.

    Raises:
        ValueError: if there are none.
    """
    axes, figure = _rows([name for name, _ in stages])
    for place, (_, entry) in enumerate(stages):
        start, parts = 0.0, _parts(entry)
        for (stage, colour, pattern), width in zip(_STAGES, parts, strict=True):
            label = stage if place == 0 else None
            axes.barh(place, width, left=start, height=0.55, color=colour, hatch=pattern, edgecolor="w", label=label)
            start += width
        text = " + ".join(f"{width:.3g}" for width in parts)
        axes.annotate(text, (start, place), (6, 0), textcoords="offset points", va="center", fontsize=8, color=INK)
    axes.set_xlim(0, max(sum(_parts(entry)) for _, entry in stages) * 1.55)
    axes.set_xlabel("ms of an answer with one thread")
    figure.legend(loc="outside upper left", ncols=len(_STAGES), fontsize=8)
    return figure


@house_style()
def stream_lines(streams: Mapping[str, Sequence[StreamTiming]]) -> Figure:
    """Draw two panels over the number of streams: the throughput of all together, and the latency of a frame.

    Args:
        streams: name, one or two lines of text, and what was measured.

    Raises:
        ValueError: if there are none.
    """
    if not streams:
        raise ValueError("got no candidate")
    figure = Figure(figsize=(1.2 * WIDTH, 4.6 + 0.17 * len(streams)))
    above, below = figure.subplots(2, sharex=True)
    for number, (name, timings) in enumerate(streams.items()):
        counts = [timing.streams for timing in timings]
        style = {
            "color": COLOURS[number % len(COLOURS)],
            "linestyle": _DASHES[number % len(_DASHES)],
            "marker": _MARKERS[number % len(_MARKERS)],
            "markersize": 4,
        }
        rates = [timing.images_per_second for timing in timings]
        errors = [[timing.images_per_second - timing.low for timing in timings]]
        errors.append([timing.high - timing.images_per_second for timing in timings])
        label = shorten(name.replace("\n", ", "), length=2 * _NAME)
        above.errorbar(counts, rates, yerr=errors, capsize=2, label=label, **style)
        below.plot(counts, [timing.p50_ms for timing in timings], **style)
        for timing in timings:
            *_, p99 = timing.tails
            if p99 is not None:
                below.vlines(timing.streams, timing.p50_ms, p99, color=style["color"])
    for axes in (above, below):
        axes.set_ylim(bottom=0)
    above.set_title("images per second of all streams together")
    below.set_title("latency of a frame, ms: line through p50, up to p99")
    counts = sorted({timing.streams for timings in streams.values() for timing in timings})
    below.set_xticks(counts)
    below.set_xlabel("streams at the same time, each with one thread")
    figure.legend(loc="outside lower left", fontsize=7.5)
    return figure


def _end(timing: Timing) -> float:
    """Return where the bar of a timing, its interval and its whisker end, milliseconds."""
    median, interval, p99 = _image_times(timing)
    return max(median, 0.0 if interval is None else interval.high, p99 or 0.0)


def _image_times(timing: Timing) -> tuple[float, Interval | None, float | None]:
    """Return the median time for one image, its interval and the 99th percentile, milliseconds; None if unknown."""
    *_, p99 = timing.tails
    # Older records have no rounds.
    interval = timing.image_interval if timing.round_ms else None
    return timing.image_p50_ms, interval, None if p99 is None else p99 / timing.batch_size


def _parts(stages: Stages) -> tuple[float, float, float]:
    """Return the times of the stages, milliseconds, in the order of `_STAGES`."""
    return stages.preprocessing_ms, stages.network_ms, stages.decoding_ms


def _rows(names: Sequence[str]) -> tuple[Axes, Figure]:
    """Return axes with a row for each name."""
    if not names:
        raise ValueError("got no candidate")
    figure = Figure(figsize=(1.2 * WIDTH, 1.1 + 0.42 * len(names)))
    axes = figure.add_subplot()
    shown = ["\n".join(shorten(line, length=_NAME) for line in name.split("\n")) for name in names]
    axes.set_yticks(range(len(names)), shown, color=INK, fontsize=8)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.grid(visible=False, axis="y")
    axes.grid(axis="x")
    axes.spines["left"].set_visible(False)
    return axes, figure
