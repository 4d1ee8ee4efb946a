import json
import re
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from parckit.cli import quickstart
from parckit.cli.main import main
from parckit.contract import InputError, read_contract
from parckit.data import digits
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.measure.latency import benchmark
from parckit.runtimes import open_session
from parckit.tasks import parse_command, train
from parckit.tasks.recipe import find_recipe
from processes import measure_no_memory
from web_package import write_package

BRIEF = {"warmup": 0.01, "seconds": 0.02}
SMALLER = {
    r"digit_scenes:\d+": "digit_scenes:16",
    r"\[24, 48, 96, 192\], stem_width: 16": "[8, 16, 24, 32], stem_width: 8",
    r"img_size: 160": "img_size: 64",
    r"size: \[160, 160\]": "size: [64, 64]",
    r"width: 48": "width: 8",
}
"""Patterns in the shipped recipes -> what the tests write there."""
_INDICES = digits._indices


def brief_training(recipe, *, trainer, **options):
    """Train for two steps, the classifier with one block in a stage."""
    model = {"kwargs": {"depths": [1, 1, 1]}} if recipe == quickstart.TOURS["classify"].recipe else {}
    limits = {"limit_train_batches": 2, "limit_val_batches": 1, "num_sanity_val_steps": 0}
    return train(recipe, trainer={**trainer, **limits}, model=model, **options)


def quick_export(network, spec, *, out):
    """Use torch's older exporter, which takes a third of the time; tests/deploy tries the usual one."""
    return export_bundle(network, spec, out=out, settings=ExportSettings(onnx=OnnxSettings(opset=17)))


def run_briefly(folder: Path, *options: str, online: bool = False) -> None:
    """Run all steps as for a user, but with a third of the digits; training takes two steps and timing is short.

    Args:
        folder: folder of the results.
        options: further options.
        online: whether ONNX Runtime Web can be fetched.
    """

    def fetch(**_: object) -> Path:
        if not online:
            raise InputError("https://registry.npmjs.org: cannot be fetched (no network)")
        return write_package(folder.with_name("ort.tgz"), patch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(folder.with_name("cache")))
        patch.setattr("parckit.cli.web.fetch_package", fetch)
        measure_no_memory(patch)
        patch.setattr(digits, "_indices", lambda targets, *, split: _INDICES(targets, split=split)[::3])
        patch.setattr(quickstart, "train", brief_training)
        patch.setattr(quickstart, "export_bundle", quick_export)
        patch.setattr(quickstart, "benchmark", lambda path, **kwargs: benchmark(path, **kwargs | BRIEF))
        main(["quickstart", "--max_epochs=1", f"--out={folder}", *options])


@pytest.fixture(scope="module")
def out(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("quickstart") / "out"
    run_briefly(folder, online=True)
    return folder


@pytest.fixture(scope="module")
def page(out: Path) -> str:
    return (out / "report.html").read_text(encoding="utf-8")


def test_everything_is_in_one_folder(out):
    records = {f"{kind}_{engine}.json" for kind in ("bench", "eval") for engine in ("onnxruntime", "torch")}
    results = {"bundle", "examples", "page", "report.html", "summary.json", "train", *records}
    assert {path.name for path in out.iterdir()} == results


def test_a_page_for_the_browser_offers_test_pictures(out):
    assert read_contract(out / "page").spec == read_contract(out / "bundle").spec
    assert len([*(out / "page" / "examples").glob("*.png")]) == 10


def test_the_summary_has_these_numbers(out):
    summary = json.loads((out / "summary.json").read_text())
    assert [*summary] == ["top1_torch", "top1_onnxruntime", "parity_max_abs", "latency_ms_p50", "seconds"]
    assert 0 < summary["top1_torch"] <= 100
    assert summary["top1_onnxruntime"] == summary["top1_torch"]
    (check,) = read_contract(out / "bundle").artefacts[0].checks
    assert summary["parity_max_abs"] == check.figures["max_abs"] <= check.figures["tolerance"]
    assert 0 < summary["latency_ms_p50"] < 1000
    assert 0 < summary["seconds"] < 600


def test_the_bundle_runs(out):
    session = open_session(out / "bundle")
    assert session.spec.backbone == "parcnet_xxs"
    assert session.spec.labels == tuple("0123456789")


def test_the_latency_is_recorded_for_both_engines(out):
    summary = json.loads((out / "summary.json").read_text())
    for engine, threads in (("torch", [1]), ("onnxruntime", [1, 2])):
        values = json.loads((out / f"bench_{engine}.json").read_text())["values"]
        assert values["engine"].split()[0] == engine
        assert [timing["threads"] for timing in values["timings"]] == threads
    assert summary["latency_ms_p50"] == values["timings"][0]["p50_ms"]


def test_the_report_needs_nothing_beside_it(page):
    links = re.findall(r"""(?:src|href|action|data)\s*=\s*["']([^"']+)""", page)
    assert [link[:60] for link in links if not link.startswith(("data:", "#"))] == []
    assert re.findall(r"@import|url\((?!['\"]?(?:data:|#))", page) == []


def test_the_report_shows_what_was_found(out, page):
    summary = json.loads((out / "summary.json").read_text())
    assert f"{summary['top1_torch']:.2f}" in page
    assert f"{summary['parity_max_abs']:.1e}" in page
    assert f"{summary['latency_ms_p50']:.2f}" in page
    for title in ("Training", "Confusion matrix", "Worst mistakes", "Latency", "Accuracy"):
        assert f">{title}" in page


def test_the_commands_of_the_report_are_understood(page):
    commands = [shlex.split(line) for line in re.findall(r"parckit (?:train|export|eval|bench|report) .*--.*", page)]
    assert [command[1] for command in commands] == ["train", "export", "eval", "bench", "report"]
    _, config = parse_command(commands[0][2:])
    assert (config.data.source, config.trainer.max_epochs, config.seed) == ("digits", 1, 0)


def test_the_folder_can_be_reported_on_again(out, page, tmp_path):
    main(["report", str(out), f"--out={tmp_path / 'again.html'}"])
    again = (tmp_path / "again.html").read_text(encoding="utf-8")
    # The numbers come from the records; only the pictures of mistakes need the data.
    for title in ("Training", "Confusion matrix", "Latency", "Accuracy"):
        assert f">{title}" in again
    assert ">Worst mistakes" not in again


@pytest.mark.parametrize(
    ("task", "score", "picture"),
    [("detect", "map", "Precision and recall"), ("segment", "miou", "Confusion matrix")],
)
def test_other_tasks_go_through_all_steps_too(task, score, picture, tmp_path, monkeypatch, capsys):
    """The recipe is the shipped one, smaller. Without a network there is no page for the browser."""
    text = find_recipe(quickstart.TOURS[task].recipe).read_text(encoding="utf-8")
    for pattern, smaller in SMALLER.items():
        text = re.sub(pattern, smaller, text)
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text(text, encoding="utf-8")
    tour = replace(quickstart.TOURS[task], recipe=str(recipe), source="digit_scenes:20")
    monkeypatch.setitem(quickstart.TOURS, task, tour)
    # The page has few mistakes, so that not all pictures are among them.
    monkeypatch.setattr("parckit.report.mistakes.MOST", 2)
    monkeypatch.setattr("parckit.report.mistakes._FEW", 2)
    run_briefly(tmp_path / "out", f"--task={task}")
    out = tmp_path / "out"
    later = f"parckit web {out / 'bundle'} --out {out / 'page'} --examples {out / 'examples'}"
    assert capsys.readouterr().out.rstrip().endswith(f"later, type: {later}")
    assert (out / "examples" / "01.png").is_file()
    summary = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert [*summary] == [f"{score}_torch", f"{score}_onnxruntime", "parity_max_abs", "latency_ms_p50", "seconds"]
    assert summary[f"{score}_onnxruntime"] == pytest.approx(summary[f"{score}_torch"], abs=0.01)
    page = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    for title in ("Training", picture, "Latency", "Accuracy", "Answers at random"):
        assert f">{title}" in page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--task=paint"], "--task"),
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
