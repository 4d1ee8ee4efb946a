from pathlib import Path

import pytest

from bundles import add_pairs, write_tiny_bundle
from parckit.contract import AbsentError, InputError, MissingExtraError
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.speed import match_baselines
from parckit.runtimes import engines

SHIPPED = Path("parcnet_xs.cifar10")


@pytest.fixture
def bundle(tmp_path):
    return add_pairs(write_tiny_bundle(tmp_path / "bundle"), made_in=tmp_path / "made")


def names(candidates) -> list[str]:
    return [candidate.name.rpartition("/")[2] for candidate in candidates]


@pytest.fixture
def all_are_installed(monkeypatch):
    """Let every engine count as installed; nothing is opened."""
    monkeypatch.setattr(engines, "find_spec", lambda package: object())


def test_without_engines_a_bundle_gives_the_first_that_fits(bundle, caplog):
    assert names(find_candidates([bundle], Wanted())) == ["onnx-fp32 on onnxruntime"]
    assert "several artefacts fit; taking onnx-fp32" in caplog.text
    assert names(find_candidates([bundle], Wanted(precision="int8"))) == ["pairs on onnxruntime"]
    assert names(find_candidates([bundle / "pairs"], Wanted())) == ["pairs on onnxruntime"]


def test_with_engines_it_gives_all_that_they_open(bundle, all_are_installed):
    wanted = Wanted(engines=("openvino", "onnxruntime", "opencv"))
    assert names(find_candidates([bundle, bundle], wanted)) == [
        "onnx-fp32 on openvino",
        "pairs on openvino",
        "onnx-fp32 on onnxruntime",
        "pairs on onnxruntime",
        "onnx-fp32 on opencv",  # which has no int8
    ]


def test_all_stands_for_what_is_installed(bundle, monkeypatch):
    monkeypatch.setattr(engines, "find_spec", lambda package: package == "onnxruntime" or None)
    assert names(find_candidates([bundle / "pairs"], Wanted(engines=("all",)))) == ["pairs on onnxruntime"]
    with pytest.raises(MissingExtraError, match=r"engines='mnn': needs the package MNN.*parckit\[mnn\]"):
        find_candidates([bundle], Wanted(engines=("mnn",)))


def test_an_engine_of_another_system_is_passed_over_and_refused_by_name(bundle, all_are_installed, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    assert "coreml" not in {engine.name for engine in Wanted(engines=("all",)).find_engines()[0]}
    with pytest.raises(AbsentError, match="engines='coreml': coreml runs on macOS only"):
        find_candidates([bundle], Wanted(engines=("coreml",)))


def test_a_file_runs_on_its_engine(bundle):
    (candidate,) = find_candidates([bundle / "pairs" / "model.onnx"], Wanted(engines=("onnxruntime",)))
    assert (candidate.engine.name, candidate.artefact) == ("onnxruntime", None)
    assert candidate.file_bytes == (bundle / "pairs" / "model.onnx").stat().st_size
    (shipped,) = find_candidates([SHIPPED], Wanted())
    assert shipped.engine.name == "torch"
    assert shipped.file_bytes > 1_000_000
    with pytest.raises(InputError, match="not among the engines onnxruntime"):
        find_candidates([SHIPPED], Wanted(engines=("onnxruntime",)))
    with pytest.raises(InputError, match="choose within a bundle"):
        find_candidates([SHIPPED], Wanted(precision="fp32"))


def test_a_baseline_is_the_one_that_is_most_alike(bundle, all_are_installed):
    candidates = find_candidates([bundle], Wanted(engines=("onnxruntime", "openvino")))
    first, second, third, fourth = (candidate.name for candidate in candidates)
    assert match_baselines(candidates, candidates[:1]) == dict.fromkeys((second, third, fourth), first)
    # Of both engines, the same engine counts first, then the same precision.
    assert match_baselines(candidates[1:2], candidates[2:]) == {second: fourth}
    assert match_baselines(candidates[:2], candidates[:2]) == {first: second, second: first}
