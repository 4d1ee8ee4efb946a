import pytest

from parckit.measure.interleaved import Interval
from parckit.measure.profiling import Layer, Profile
from parckit.measure.stages import Stages
from parckit.measure.timings import StreamTiming, Timing
from parckit.report.profile_chart import profile_bars
from parckit.report.scatter import pareto_scatter
from parckit.report.speed_charts import latency_bars, stage_bars, stream_lines


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
    assert "14 ms, 13%, ceiling 4%" in words(figure)


def test_the_scatter_marks_the_front():
    latencies = {
        name: Interval(median=value, low=value - 0.1, high=value + 0.1) for name, value in (("b", 2), ("a", 1))
    }
    figure = pareto_scatter(latencies, {"a": 60.0, "b": 50.0}, front=("a",), score="top-1")
    (axes,) = figure.axes
    assert words(figure) == ["1", "2"]
    assert axes.get_legend_handles_labels()[1] == ["1  a", "2  b (beaten)"]
    assert axes.get_ylabel() == "top-1, %"
    with pytest.raises(ValueError, match="2 times and 1 scores"):
        pareto_scatter(latencies, {"a": 60.0}, front=("a",), score="top-1")


def test_latency_bars_have_the_length_of_the_medians():
    def timing(p50: float, *, rounds: tuple[float, ...] = (), repeats: int = 100, batch: int = 1) -> Timing:
        tail = {"p90_ms": p50 + 1, "p95_ms": p50 + 2, "p99_ms": p50 + 3, "mean_ms": p50, "min_ms": p50}
        facts = {"threads": 1, "batch_size": batch, "repeats": repeats, "images_per_second": 1.0}
        return Timing(p50_ms=p50, round_ms=rounds, **facts, **tail)

    figure = latency_bars([("one", timing(4.0)), ("two", timing(2.5, rounds=(2.0, 3.0)))])
    (axes,) = figure.axes
    assert [bar.get_width() for bar in axes.patches] == [4.0, 2.5]
    assert words(figure) == ["p50 4", "p50 2.5"]
    # A whisker for each, and an interval for the one that has rounds.
    ends = [tuple(line.get_segments()[0][:, 0].tolist()) for line in axes.collections]
    assert ends == [(4.0, 7.0), (2.5, 5.5), (2.0, 3.0)]
    # Too few runs have no whisker.
    (axes,) = latency_bars([("few", timing(4.0, repeats=99))]).axes
    assert [*axes.collections] == []
    # A batch is drawn by the time for one image.
    (axes,) = latency_bars([("pairs", timing(4.0, rounds=(3.0, 5.0), batch=2))]).axes
    assert [bar.get_width() for bar in axes.patches] == [2.0]
    ends = [tuple(line.get_segments()[0][:, 0].tolist()) for line in axes.collections]
    assert ends == [(2.0, 3.5), (1.5, 2.5)]


def test_the_parts_of_an_answer_stand_one_after_the_other():
    stages = Stages(preprocessing_ms=1.0, network_ms=4.0, decoding_ms=0.5)
    figure = stage_bars([("net\nengine", stages)])
    (axes,) = figure.axes
    assert [(bar.get_x(), bar.get_width()) for bar in axes.patches] == [(0.0, 1.0), (1.0, 4.0), (5.0, 0.5)]
    assert words(figure) == ["1 + 4 + 0.5"]


def test_streams_have_throughput_above_and_latency_below():
    timings = [
        StreamTiming(
            streams=count,
            images_per_second=10.0 * count,
            low=9.0,
            high=50.0,
            p50_ms=1.0,
            p90_ms=2.0,
            p99_ms=3.0,
            repeats=99 * count,
        )
        for count in (1, 4)
    ]
    figure = stream_lines({"net\nengine": timings})
    above, below = figure.axes
    assert above.lines[0].get_ydata().tolist() == [10.0, 40.0]
    assert list(below.lines[0].get_ydata()) == [1.0, 1.0]
    # Only where there are enough runs, a line goes up to the 99th percentile.
    assert [line.get_segments()[0].tolist() for line in below.collections] == [[[4.0, 1.0], [4.0, 3.0]]]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["net, engine"]


@pytest.mark.parametrize("draw", [latency_bars, stage_bars, stream_lines])
def test_a_picture_needs_a_candidate(draw):
    with pytest.raises(ValueError, match="got no candidate"):
        draw({})
