import json
import re
from pathlib import Path

import pytest

from parckit.cli import quickstart
from parckit.cli.main import main
from parckit.cli.train import train
from parckit.contract import read_contract
from parckit.measure.latency import benchmark
from parckit.runtimes import open_session

BRIEF = {"warmup": 0.01, "seconds": 0.02}


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    with pytest.MonkeyPatch.context() as patch:
        # The path is the real one, with a tenth of an epoch and a stopwatch that is stopped early.
        patch.setattr(quickstart, "train", lambda argv: train([*argv, "--trainer.limit_train_batches=4"]))
        patch.setattr(quickstart, "benchmark", lambda session, **options: benchmark(session, **options | BRIEF))
        main(["quickstart", "--max_epochs=1", f"--out={folder}"])
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def test_everything_is_in_one_folder(out):
    assert {path.name for path in out.iterdir()} == {"bench.json", "bundle", "report.html", "summary.json", "train"}


def test_the_summary_has_these_numbers(out):
    summary = json.loads((out / "summary.json").read_text())
    assert [*summary] == ["top1_torch", "top1_onnxruntime", "parity_max_abs", "latency_ms_p50", "seconds"]
    assert 0 < summary["top1_torch"] <= 100
    assert summary["top1_onnxruntime"] == summary["top1_torch"]
    contract = read_contract(out / "bundle")
    assert summary["parity_max_abs"] == contract.parity.max_abs <= contract.parity.tolerance
    assert 0 < summary["latency_ms_p50"] < 1000
    assert 0 < summary["seconds"] < 600


def test_the_bundle_runs(out):
    session = open_session(out / "bundle")
    assert session.spec.model == "parcnet_xxs"
    assert session.spec.labels == tuple("0123456789")


def test_the_latency_is_recorded_for_both_engines(out):
    record = json.loads((out / "bench.json").read_text())
    engines = record["values"]["timings"]
    assert [name.split()[0] for name in engines] == ["torch", "onnxruntime"]
    assert [[timing["threads"] for timing in timings] for timings in engines.values()] == [[1], [1, 2]]
    summary = json.loads((out / "summary.json").read_text())
    assert summary["latency_ms_p50"] == [*engines.values()][1][0]["p50_ms"]


def test_the_report_needs_nothing_beside_it(page):
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']+)""", page)
    assert [link[:60] for link in links if not link.startswith(("data:", "#"))] == []
    assert re.findall(r"@import|url\((?!['\"]?(?:data:|#))", page) == []


def test_the_report_shows_what_was_found(out, page):
    summary = json.loads((out / "summary.json").read_text())
    assert f"{summary['top1_torch']:.2f}" in page
    assert f"{summary['parity_max_abs']:.1e}" in page
    assert f"{summary['latency_ms_p50']:.2f}" in page
    for title in ("Training", "Confusion matrix", "Sample predictions", "Latency", "Accuracy"):
        assert title in page
    assert "parckit train --config classify/digits_parcnet_xxs" in page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--max_epochs=0"], "--max_epochs"),
        (["--max_epochs=some"], "--max_epochs"),
        (["--seed=-1"], "--seed"),
        (["--epochs=3"], "--epochs=3"),
        (["--max=3"], "--max=3"),
    ],
    ids=str,
)
def test_mistakes_are_named_and_leave_nothing(options, named, tmp_path, mistake):
    assert named in mistake("quickstart", "--out", tmp_path / "out", *options)
    assert not (tmp_path / "out").exists()
