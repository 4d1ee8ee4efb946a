"""Float and int8 artefacts of a bundle, timed side by side."""

import pytest

from bundles import add_pairs, write_tiny_bundle
from parckit.deploy.quantize.speedup import Speedup, compare_speed, find_speedups
from parckit.measure.interleaved import Ratio
from parckit.runtimes import open_session


def speedup(low: float, high: float) -> Speedup:
    ratio = Ratio(speedup=(low + high) / 2, low=low, high=high)
    return Speedup(engine="onnxruntime 1", artefact="onnx-int8", float_ms=10.0, int8_ms=8.0, ratio=ratio)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.1, 1.3, "faster"), (0.9, 1.1, "as fast"), (0.7, 0.9, "slower")]
)
def test_only_an_interval_without_one_is_a_verdict_and_slower_is_said_aloud(low, high, verdict):
    result = speedup(low, high)
    assert result.verdict == verdict
    assert result.is_faster == (verdict == "faster")
    assert ("SLOWER" in str(result)) == (verdict == "slower")
    assert result.figures["speedup_low"] == low


def test_every_int8_artefact_of_a_bundle_is_timed_beside_the_float_one(tmp_path):
    bundle = add_pairs(write_tiny_bundle(tmp_path / "bundle"), made_in=tmp_path / "made")
    (result,) = find_speedups(bundle, engines=["onnxruntime"], seconds=0.01)
    assert (result.artefact, result.engine.split()[0]) == ("pairs", "onnxruntime")
    assert result.int8_ms > 0
    assert result.float_ms / result.int8_ms == pytest.approx(result.ratio.speedup, rel=2)


def test_a_bundle_without_int8_has_no_speedup(tmp_path):
    assert find_speedups(write_tiny_bundle(tmp_path / "bundle"), seconds=0.01) == ()


def test_a_much_heavier_network_takes_longer(tmp_path):
    plain = open_session(write_tiny_bundle(tmp_path / "plain"), runtime="onnxruntime", threads=1)
    heavy = open_session(write_tiny_bundle(tmp_path / "heavy", ballast=6_000_000), runtime="onnxruntime", threads=1)
    assert compare_speed(plain, heavy, seconds=0.1).ratio.speedup < 1
