import pytest

from parckit.measure.interleaved import Interval
from parckit.measure.profiling import Layer, Profile
from parckit.report.profile_chart import profile_bars
from parckit.report.scatter import pareto_scatter


def words(figure) -> list[str]:
    return [text.get_text() for axes in figure.axes for text in axes.texts]


def test_a_profile_shows_operators_and_the_slowest_layers():
    layers = tuple(
        Layer(name=f"node{number}", kind="Conv", milliseconds=1.0 + number, madds=10_000_000, output=(1,))
        for number in range(14)
    )
    figure = profile_bars(Profile(layers=layers, run_ms=100.0, threads=1, ceiling_gflops=40.0), title="net")
    kinds, slowest = figure.axes
    assert [label.get_text() for label in kinds.get_yticklabels()] == ["Conv (14)"]
    assert slowest.get_yticklabels()[0].get_text() == "node13: Conv"
    # Twelve bars; the two fastest layers take 1 and 2 ms.
    assert len(slowest.patches) == 12
    assert "2 others: 3 ms" in slowest.get_title(loc="left")
    # 10 million multiply-adds in 14 ms are 1.43 GFLOP/s.
    assert "14 ms, 13%, 4% of the ceiling" in words(figure)


def test_the_scatter_marks_the_front():
    latencies = {
        name: Interval(median=value, low=value - 0.1, high=value + 0.1) for name, value in (("b", 2), ("a", 1))
    }
    figure = pareto_scatter(latencies, {"a": 60.0, "b": 50.0}, front=("a",), score="top-1")
    (axes,) = figure.axes
    assert words(figure) == ["1", "2"]
    assert axes.get_legend_handles_labels()[1] == ["1  a", "2  b (beaten)"]
    assert axes.get_ylabel() == "top-1, %"
    with pytest.raises(ValueError, match="2 latencies and 1 scores"):
        pareto_scatter(latencies, {"a": 60.0}, front=("a",), score="top-1")
