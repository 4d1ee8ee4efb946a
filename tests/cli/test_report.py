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
    for title in ("Accuracy", "Parity", "Confusion matrix", "Worst mistakes"):
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


def test_a_missing_engine_ends_with_the_pip_line_and_no_page(bundle, mistake, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    monkeypatch.delitem(sys.modules, "parckit.runtimes.onnxruntime", raising=False)
    message = mistake("report", bundle, "--data=digits", "--out", tmp_path / "page.html")
    assert message.endswith('needs the package onnxruntime; install it with: pip install "parckit[onnxruntime]"')
    assert not (tmp_path / "page.html").exists()


def test_the_card_takes_texts_from_a_file(bundle, parckit, mistake, tmp_path):
    card, page = tmp_path / "card.yaml", tmp_path / "page.html"
    card.write_text("licence: CC BY 4.0\nintended_use: Sorting mail.\n")
    parckit("report", bundle, "--card", card, "--out", page)
    text = page.read_text(encoding="utf-8")
    assert "CC BY 4.0" in text
    assert "Sorting mail." in text
    for wrong in ("licens: MIT", "licence: 3", "- MIT"):
        card.write_text(wrong)
        assert "accepted are texts for title, intended_use" in mistake("report", bundle, "--card", card)
