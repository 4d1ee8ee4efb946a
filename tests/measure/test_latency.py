import gc
import time
from dataclasses import replace

import numpy as np
import pytest

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import InputError, InputSpec
from parckit.measure.interleaved import LEAST_ROUNDS
from parckit.measure.latency import _stream_timing, benchmark, percentiles, time_candidates
from parckit.measure.timings import Benchmark, Schedule


class Sleeper:
    """A session that takes a known time and notes what is asked of it."""

    batch_size = 1
    input = InputSpec()

    def __init__(self, seconds: float) -> None:
        self.spec = tiny_spec()
        self.engine, self.artefact = "sleeper", "nap"
        self.seconds = seconds
        self.shapes: list[tuple[int, ...]] = []
        self.types: set[str] = set()
        self.collecting: list[bool] = []

    def __call__(self, images: np.ndarray) -> tuple[np.ndarray, ...]:
        self.shapes.append(images.shape)
        self.types.add(images.dtype.name)
        self.collecting.append(gc.isenabled())
        time.sleep(self.seconds)
        return (np.zeros((len(images), 4), np.float32),)


class Factory:
    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.asked: list[int] = []
        self.made: list[Sleeper] = []

    def __call__(self, threads: int) -> Sleeper:
        self.asked.append(threads)
        self.made.append(Sleeper(self.seconds))
        return self.made[-1]


def time_one(make, *, threads=(1,), streams=None, warmup=0.0, seconds=0.001) -> Benchmark:
    schedule = Schedule(
        threads=tuple(threads), streams=tuple(threads if streams is None else streams), warmup=warmup, seconds=seconds
    )
    return time_candidates({"one": make}, schedule)["one"]


def test_statistics_of_a_known_duration():
    (timing,) = time_one(Factory(0.002), seconds=0.04).timings
    assert timing.threads == 1
    # Half of all runs are not timed; every round has at least one that is.
    assert LEAST_ROUNDS <= len(timing.round_ms) <= timing.repeats <= 20
    assert timing.min_ms <= timing.interval.low <= timing.interval.median <= timing.interval.high
    # sleep never returns early; a busy machine may return late, so that there is no upper bound to assert.
    assert timing.p50_ms == timing.interval.median
    assert 2 <= timing.min_ms <= timing.p50_ms <= timing.p90_ms <= timing.p95_ms <= timing.p99_ms
    assert timing.min_ms <= timing.mean_ms
    assert timing.images_per_second <= 500


def test_warm_up_is_not_timed_and_images_come_one_by_one():
    factory = Factory(0.01)
    (timing,) = time_one(factory, warmup=0.1, seconds=0.02).timings
    for session in factory.made:
        assert {*session.shapes} == {(1, 3, 4, 6)}
    # Of the other runs, one a round is not timed either, and warm-up has at least one.
    assert len(factory.made[0].shapes) > timing.repeats + len(timing.round_ms)


def test_latency_has_threads_inside_and_throughput_has_single_thread_workers():
    factory = Factory(0.0)
    result = time_one(factory, threads=[1, 3, 4], streams=[2, 1, 3])
    assert [timing.threads for timing in result.timings] == [1, 3, 4]
    assert [timing.streams for timing in result.streams] == [1, 2, 3]
    # Only the streams that are asked for are measured, so nobody knows the throughput of four.
    assert factory.asked == [1, 3, 4, *[1] * (1 + 2 + 3)]
    rates = [result.streams[index].images_per_second for index in (0, 2)]
    assert [timing.images_per_second for timing in result.timings] == [*rates, None]


def test_a_graph_of_several_images_is_fed_as_many(monkeypatch):
    monkeypatch.setattr(Sleeper, "batch_size", 3)
    factory = Factory(0.02)
    (timing,) = time_one(factory, seconds=0.1).timings
    assert {shape[0] for session in factory.made for shape in session.shapes} == {3}
    assert timing.batch_size == 3
    # Three images every 20 ms are 150 images/s; sleeping and the machine may only slow that down.
    assert 30 < timing.images_per_second <= 150


def test_workers_run_side_by_side():
    one, four = time_one(Factory(0.02), streams=[1, 4], seconds=0.1).streams
    # Sleeping workers do not compete: four times the throughput, less what a busy machine takes.
    assert four.images_per_second > 1.5 * one.images_per_second


def test_slow_cores_do_not_hold_up_the_count_of_fast_ones():
    durations = iter([0.005, 0.005, 0.08])  # latency's session, and a worker on either kind of core
    (timing,) = time_one(lambda threads: Sleeper(next(durations)), threads=[2], seconds=0.16).timings
    # 200 and 12.5 images/s; twice the slower one's would be 25.
    assert 60 < timing.images_per_second <= 212.5


def test_a_model_slower_than_the_measurement_still_has_an_interval():
    result = time_one(Factory(0.005))
    assert result.timings[0].repeats == len(result.timings[0].round_ms) == LEAST_ROUNDS
    (stream,) = result.streams
    assert 0 < stream.low <= stream.images_per_second <= stream.high
    assert 5 <= stream.p50_ms <= stream.p90_ms <= stream.p99_ms


def test_candidates_take_turns():
    calls: list[str] = []

    class Named(Sleeper):
        def __init__(self, name: str) -> None:
            super().__init__(0.0)
            self.name = name

        def __call__(self, images):
            calls.append(self.name)
            return super().__call__(images)

    schedule = Schedule(streams=(1,), warmup=0, seconds=1e-6)
    both = time_candidates({name: lambda threads, name=name: Named(name) for name in "ab"}, schedule)
    # A turn is one run that is not timed and one that is. Latency and one stream have the least number of rounds each.
    turns = ["".join(calls[start : start + 4]) for start in range(0, len(calls), 4)]
    assert len(turns) == 2 * LEAST_ROUNDS
    assert {*turns} == {"aabb", "bbaa"}
    assert [len(result.timings[0].round_ms) for result in both.values()] == [LEAST_ROUNDS] * 2
    # Only files have a digest.
    assert {result.sha256 for result in both.values()} == {None}


def test_an_error_in_a_stream_is_not_lost():
    class Failing(Sleeper):
        def __call__(self, images):
            raise RuntimeError("no answer")

    sessions = iter([Sleeper(0.0), Sleeper(0.0), Failing(0.0)])
    with pytest.raises(RuntimeError, match="no answer"):
        time_one(lambda threads: next(sessions), threads=[2])


def test_the_garbage_collector_rests_while_timing_and_works_after():
    factory = Factory(0.0)
    assert gc.isenabled()
    time_one(factory, warmup=0.001)
    assert not any(collecting for session in factory.made for collecting in session.collecting)
    assert gc.isenabled()


def test_an_error_in_a_worker_is_not_lost():
    def make(threads: int) -> Sleeper:
        if factory.made:
            raise RuntimeError("no more sessions")
        return factory(threads)

    factory = Factory(0.0)
    with pytest.raises(RuntimeError, match="no more sessions"):
        time_one(make)
    assert gc.isenabled()


@pytest.mark.parametrize(
    "choice", [{}, {"runtime": "onnxruntime"}, {"precision": "fp32", "artefact": "onnx-fp32"}], ids=str
)
def test_a_bundle_is_timed_as_chosen(tmp_path, choice):
    bundle = write_tiny_bundle(tmp_path / "b")
    (timing,) = benchmark(bundle, threads=[2], warmup=0.01, seconds=0.01, **choice).timings
    assert timing.threads == 2
    assert timing.min_ms > 0
    assert timing.images_per_second > 0
    with pytest.raises(InputError, match="'absent': the bundle has onnx-fp32"):
        benchmark(bundle, artefact="absent")


def test_a_network_that_normalises_itself_gets_pixels(monkeypatch):
    wanted = InputSpec(dtype="uint8", layout="NHWC", shape=(1, 4, 6, 3), normalised_inside=True)
    monkeypatch.setattr(Sleeper, "input", wanted)
    factory = Factory(0.0)
    time_one(factory)
    for session in factory.made:
        assert {*session.shapes} == {(1, 4, 6, 3)}
        assert session.types == {"uint8"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"threads": ()}, "threads"),
        ({"threads": (1, 0)}, "threads"),
        ({"streams": (0,)}, "streams"),
        ({"warmup": -1}, "warmup=-1"),
        ({"seconds": 0}, "seconds=0"),
        ({"seconds": float("nan")}, "seconds=nan"),
    ],
)
def test_arguments_that_measure_nothing_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        Schedule(**arguments)


def test_every_round_weighs_the_same_in_a_percentile():
    """A slow round has fewer runs, but is one of two all the same."""
    fast, slow = [1.0] * 90, [9.0] * 10
    assert percentiles([fast, slow], (25, 49, 51, 99)) == [1, 1, 9, 9]
    assert percentiles([[3.0, 1.0, 2.0]], (1, 34, 67, 100)) == [1, 2, 3, 3]


def test_percentiles_of_too_few_runs_are_left_out():
    (timing,) = time_one(Factory(0.001)).timings
    tails = (timing.p90_ms, timing.p95_ms, timing.p99_ms)
    assert replace(timing, repeats=100).tails == tails
    assert replace(timing, repeats=99).tails == (*tails[:2], None)
    assert replace(timing, repeats=19).tails == (tails[0], None, None)
    assert replace(timing, repeats=9).tails == (None, None, None)
    # Streams follow the same rule.
    stream = _stream_timing(2, [(1.0, [1.0] * 90), (1.0, [9.0] * 10)])
    assert stream.tails == (9.0, 9.0)
    assert replace(stream, repeats=99).tails == (9.0, None)
    assert replace(stream, repeats=9).tails == (None, None)
