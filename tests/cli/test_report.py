import shutil
import sys

import pytest


def test_the_page_about_a_run_goes_into_its_folder(trained, parckit, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    parckit("report", run)
    page = (run / "report.html").read_text(encoding="utf-8")
    assert ">Training" in page
    assert ">Confusion matrix" not in page
    assert f"parckit train --config {run / 'config.yaml'}" in page


def test_the_page_about_a_bundle_goes_beside_it(bundle, parckit):
    parckit("report", bundle, "--data=digits", "--data.split=val")
    page = bundle.with_name("bundle_report.html").read_text(encoding="utf-8")
    for title in ("Accuracy", "Checks against torch", "Confusion matrix", "Worst mistakes"):
        assert f">{title}" in page
    assert f"parckit eval {bundle} --data digits --data.split val" in page


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--out=page.pdf"], "--out page.pdf"),
        (["--data=nowhere"], "nowhere"),
        (["--data=digits", "--data.split=some"], "--data.split"),
        (["--data.batch_size=4"], "--data.source"),
    ],
)
def test_mistakes_are_named(options, named, bundle, mistake):
    assert named in mistake("report", bundle, *options)


def test_another_folder_is_refused(tmp_path, mistake):
    assert "neither a run" in mistake("report", tmp_path)


def test_a_missing_engine_ends_with_the_pip_line_and_no_page(bundle, trained, tmp_path, mistake, monkeypatch):
    run = tmp_path / "run"
    shutil.copytree(trained, run)
    shutil.copytree(bundle, run / "bundle")
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "parckit.runtimes.onnxruntime", raising=False)
    message = mistake("report", run, "--data=digits")
    assert message.endswith('needs the package onnxruntime; install it with: pip install "parckit[onnxruntime]"')
    assert not (run / "report.html").exists()
