import gc
import time

import numpy as np
import pytest

from bundles import tiny_spec, write_tiny_bundle
from parckit.contract import InputError, InputSpec
from parckit.measure.latency import benchmark, time_sessions


class Sleeper:
    """A session that takes a known time and notes what is asked of it."""

    batch_size = 1
    input = InputSpec()

    def __init__(self, seconds: float) -> None:
        self.spec = tiny_spec()
        self.engine = "sleeper"
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


def test_statistics_of_a_known_duration():
    (timing,) = time_sessions(Factory(0.002), threads=[1], warmup=0, seconds=0.04)
    assert timing.threads == 1
    assert 1 <= timing.repeats <= 20
    # sleep never returns early; a busy machine may return late, so that there is no upper bound to assert.
    assert 2 <= timing.min_ms <= timing.p50_ms <= timing.p90_ms <= timing.p95_ms <= timing.p99_ms
    assert timing.min_ms <= timing.mean_ms
    assert timing.images_per_second <= 500


def test_warm_up_is_not_timed_and_images_come_one_by_one():
    factory = Factory(0.01)
    (timing,) = time_sessions(factory, threads=[1], warmup=0.1, seconds=0.02)
    for session in factory.made:
        assert {*session.shapes} == {(1, 3, 4, 6)}
        assert 2 <= len(session.shapes) <= 12
    assert 1 <= timing.repeats <= 2
    assert len(factory.made[0].shapes) > timing.repeats


def test_latency_has_threads_inside_and_throughput_has_single_thread_workers():
    factory = Factory(0.0)
    timings = time_sessions(factory, threads=[1, 3], warmup=0, seconds=0.001)
    assert [timing.threads for timing in timings] == [1, 3]
    assert factory.asked == [1, 1, 3, 1, 1, 1]


def test_a_graph_of_several_images_is_fed_as_many(monkeypatch):
    monkeypatch.setattr(Sleeper, "batch_size", 3)
    factory = Factory(0.02)
    (timing,) = time_sessions(factory, threads=[1], warmup=0, seconds=0.1)
    assert {shape[0] for session in factory.made for shape in session.shapes} == {3}
    assert timing.batch_size == 3
    # Three images every 20 ms are 150 images/s; sleeping and the machine may only slow that down.
    assert 30 < timing.images_per_second <= 150


def test_workers_run_side_by_side():
    one, four = time_sessions(Factory(0.02), threads=[1, 4], warmup=0, seconds=0.1)
    # Sleeping workers do not compete: four times the throughput, less what a busy machine takes.
    assert four.images_per_second > 1.5 * one.images_per_second


def test_slow_cores_do_not_hold_up_the_count_of_fast_ones():
    durations = iter([0.005, 0.005, 0.08])  # latency's session, and a worker on either kind of core
    (timing,) = time_sessions(lambda threads: Sleeper(next(durations)), threads=[2], warmup=0, seconds=0.16)
    # 200 and 12.5 images/s; twice the slower one's would be 25.
    assert 60 < timing.images_per_second <= 212.5


def test_a_model_slower_than_the_measurement_is_still_timed_once():
    (timing,) = time_sessions(Factory(0.02), threads=[1], warmup=0, seconds=0.001)
    assert timing.repeats == 1
    assert timing.images_per_second > 0


def test_the_garbage_collector_rests_while_timing_and_works_after():
    factory = Factory(0.0)
    assert gc.isenabled()
    time_sessions(factory, threads=[1], warmup=0.001, seconds=0.001)
    assert not any(collecting for session in factory.made for collecting in session.collecting)
    assert gc.isenabled()


def test_an_error_in_a_worker_is_not_lost():
    def make(threads: int) -> Sleeper:
        if factory.made:
            raise RuntimeError("no more sessions")
        return factory(threads)

    factory = Factory(0.0)
    with pytest.raises(RuntimeError, match="no more sessions"):
        time_sessions(make, threads=[1], warmup=0, seconds=0.001)
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
    time_sessions(factory, threads=[1], warmup=0, seconds=0.001)
    for session in factory.made:
        assert {*session.shapes} == {(1, 4, 6, 3)}
        assert session.types == {"uint8"}


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"threads": []}, "threads"),
        ({"threads": [1, 0]}, "threads"),
        ({"threads": [1], "warmup": -1}, "warmup=-1"),
        ({"threads": [1], "seconds": 0}, "seconds=0"),
        ({"threads": [1], "seconds": float("nan")}, "seconds=nan"),
    ],
)
def test_arguments_that_measure_nothing_are_refused(arguments, named):
    with pytest.raises(InputError, match=named):
        time_sessions(Factory(0.0), **arguments)
