"""Float and int8 artefacts of a bundle, timed side by side."""

from dataclasses import replace

import pytest

from bundles import add_pairs, write_tiny_bundle
from parckit.contract import Check, read_contract
from parckit.deploy.quantize.speedup import Speedup, against_float, compare_speed, is_faster, why_untimed
from parckit.measure.interleaved import Ratio
from parckit.report.checks import describe_check
from parckit.runtimes import open_session


def speedup(low: float, high: float) -> Speedup:
    ratio = Ratio(speedup=(low + high) / 2, low=low, high=high)
    return Speedup(engine="onnxruntime 1", artefact="onnx-int8", float_ms=10.0, int8_ms=8.0, ratio=ratio)


@pytest.mark.parametrize(
    ("low", "high", "verdict"), [(1.1, 1.3, "faster"), (0.9, 1.1, "as fast"), (0.7, 0.9, "SLOWER")]
)
def test_only_an_interval_without_one_is_a_verdict_and_slower_is_said_aloud(low, high, verdict, tmp_path):
    artefact = read_contract(write_tiny_bundle(tmp_path / "bundle")).artefacts[0]
    check = Check(engine="onnxruntime", passed=True, figures=speedup(low, high).figures)
    assert describe_check(check, artefact).speed.startswith(f"{verdict}: 8.00 ms, float32 10.00 ms, ratio ")


def test_an_artefact_is_timed_beside_the_float_one_of_its_bundle(tmp_path):
    bundle = add_pairs(write_tiny_bundle(tmp_path / "bundle"), made_in=tmp_path / "made")
    contract = read_contract(bundle)
    places = {"bundle": bundle, "folder": bundle, "seconds": 0.01}
    result = against_float(contract.artefact("pairs"), contract, engine="onnxruntime", **places)
    assert (result.artefact, result.engine.split()[0]) == ("pairs", "onnxruntime")
    assert result.int8_ms > 0
    assert why_untimed("onnxruntime", contract) is None
    without = replace(contract, artefacts=(contract.artefact("pairs"),))
    assert against_float(contract.artefact("pairs"), without, engine="onnxruntime", **places) is None
    assert why_untimed("onnxruntime", without) == "the bundle has no float32 artefact for onnxruntime"


def test_the_ratio_is_that_of_the_medians(tmp_path, monkeypatch):
    times = {"float": [0.010, 0.012, 0.011], "int8": [0.005, 0.006, 0.0055]}
    monkeypatch.setattr("parckit.deploy.quantize.speedup.interleave", lambda runs, *, seconds: times)
    session = open_session(write_tiny_bundle(tmp_path / "bundle"), runtime="onnxruntime")
    result = compare_speed(session, session, seconds=1)
    assert (result.float_ms, result.int8_ms) == pytest.approx((11, 5.5))
    assert result.ratio.speedup == pytest.approx(2)


@pytest.mark.parametrize(("low", "faster"), [(1.1, True), (0.9, False)])
def test_one_engine_is_enough_to_be_faster(low, faster, tmp_path):
    artefact = read_contract(write_tiny_bundle(tmp_path / "bundle")).artefacts[0]
    slow = Check(engine="openvino", passed=True, figures=speedup(0.5, 0.7).figures)
    other = Check(engine="onnxruntime", passed=True, figures=speedup(low, 1.3).figures)
    assert is_faster(replace(artefact, checks=(slow, other))) == faster


def test_a_much_heavier_network_takes_longer(tmp_path):
    plain = open_session(write_tiny_bundle(tmp_path / "plain"), runtime="onnxruntime", threads=1)
    heavy = open_session(write_tiny_bundle(tmp_path / "heavy", ballast=6_000_000), runtime="onnxruntime", threads=1)
    assert compare_speed(plain, heavy, seconds=0.1).ratio.speedup < 1
