import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles import LABELS, expected_logits, write_tiny_bundle
from parckit.contract import Check, InputError, Preprocessing, read_contract, write_contract
from parckit.measure.classification import confusion_tables
from parckit.measure.evaluation import EvaluationData
from parckit.measure.records import write_record
from parckit.measure.timings import Timing
from parckit.processing import to_pixels
from parckit.report.content import make_report, write_page
from parckit.report.gather import Findings, gather
from parckit.report.recorded import to_json

TIMING = Timing(
    threads=1,
    batch_size=1,
    p50_ms=2.5,
    p90_ms=3.0,
    p95_ms=4.0,
    p99_ms=5.0,
    mean_ms=2.0,
    min_ms=1.0,
    repeats=9,
    images_per_second=400.0,
)
CONFUSION = np.diag([3, 0, 0, 0])
EVAL = {
    "task": "classify",
    "labels": list(LABELS),
    "scalars": {"top1": 75.0},
    "tables": {name: to_json(table) for name, table in confusion_tables(CONFUSION).items()},
    "images": 4,
    "skipped": 0,
    "model": "somewhere/bundle",
    "artefact": "onnx-fp32",
    "engine": "onnxruntime 1.0",
    "data": {"source": "photos", "split": "val", "served": "val"},
}


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return write_tiny_bundle(tmp_path / "bundle")


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """Return a run that has no checkpoint yet."""
    folder = tmp_path / "run"
    (folder / "logs" / "version_0").mkdir(parents=True)
    (folder / "config.yaml").write_text("seed: 7\ndata: {source: photos}\ntrainer: {max_epochs: 3}\n")
    (folder / "logs" / "version_0" / "metrics.csv").write_text("epoch,step,train_loss\n0,4,1.5\n1,9,1.25\n")
    return folder


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Return eight pictures of one colour each; the tiny bundle is right about cats and dogs."""
    for label, colour in zip(LABELS, ((0, 255, 0), (255, 0, 0), (255, 255, 0), (0, 0, 255)), strict=True):
        folder = tmp_path / "photos" / "test" / label
        folder.mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (6, 4), tuple(level - 100 * (level > 0) * number for level in colour)).save(
                folder / f"{number}.png"
            )
    return tmp_path / "photos"


def bench(model: str) -> dict[str, object]:
    return {"model": model, "artefact": "onnx-fp32", "engine": "onnxruntime 1.0", "timings": [asdict(TIMING)]}


def titles(findings: Findings) -> list[str]:
    report = make_report(findings)
    return [table.title for table in report.tables] + [picture.title for picture in report.pictures]


def test_a_bundle_alone_shows_what_its_contract_says(bundle):
    findings = gather(bundle)
    assert (findings.params, findings.run, findings.accuracies) == (12, None, ())
    assert titles(findings) == ["Artefacts", "Checks against torch"]
    report = make_report(findings)
    assert report.gallery is None
    assert report.provenance.commands == ()


def test_a_run_that_has_only_begun_shows_its_curve(run, tmp_path):
    findings = gather(run)
    assert findings.spec is None
    assert titles(findings) == ["Training"]
    report = make_report(findings)
    assert report.card.facts == {"Trained on": "photos", "Epochs": "3", "Seed": "7"}
    write_page(tmp_path / "report.html", findings)
    assert "Model card" in (tmp_path / "report.html").read_text()


def test_records_beside_a_bundle_count_if_they_are_about_it(bundle, tmp_path):
    write_record(tmp_path / "one.json", "eval", EVAL, seed=None, threads=None)
    write_record(tmp_path / "two.json", "bench", bench("x/bundle"), seed=None, threads=1)
    write_record(tmp_path / "of_another.json", "bench", bench("other"), seed=None, threads=1)
    findings = gather(bundle)
    assert [entry.scalars for entry in findings.accuracies] == [{"top1": 75.0}]
    assert [speed.timings for speed in findings.speeds] == [(TIMING,)]
    assert titles(findings) == [
        "Accuracy",
        "Classes",
        "Latency and throughput",
        "Artefacts",
        "Checks against torch",
        "Confusion matrix",
        "Latency",
    ]
    commands = make_report(findings).provenance.commands
    assert commands == (
        f"parckit eval {bundle} --data photos --data.split val",
        f"parckit bench {bundle} --threads 1",
    )


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("eval", {"scalars": {"top1": 5.0}}),
        ("eval", EVAL | {"data": None}),
        ("bench", bench("bundle") | {"timings": [{"p50_ms": 1.0}]}),
        ("bench", bench("bundle") | {"timings": []}),
        ("something else", {}),
    ],
)
def test_a_record_that_cannot_be_read_is_left_out(name, values, bundle, tmp_path):
    write_record(tmp_path / "record.json", name, values, seed=None, threads=None)
    (tmp_path / "other.json").write_text("no JSON")
    (tmp_path / "list.json").write_text("[1]")
    findings = gather(bundle)
    assert (findings.accuracies, findings.speeds) == ((), ())


def test_a_record_of_version_0_1_0_shows_its_scalars(bundle, tmp_path):
    old = {name: value for name, value in EVAL.items() if name not in ("task", "labels", "scalars", "tables")}
    old |= {"top1": 75.0, "top5": 100.0, "confusion": CONFUSION.tolist()}
    write_record(tmp_path / "old.json", "eval", old, seed=None, threads=None)
    (accuracy,) = gather(bundle).accuracies
    assert accuracy.scalars == {"top1": 75.0, "top5": 100.0}


def test_a_command_repeats_the_choice_of_classes(bundle, tmp_path):
    data = {
        "source": "photos",
        "split": "test",
        "served": "test, only a b",
        "classes": ["a b", "c"],
        "class_names": "n",
    }
    write_record(tmp_path / "r.json", "eval", EVAL | {"data": data}, seed=None, threads=None)
    (accuracy,) = gather(bundle).accuracies
    options = ("--data.classes", '["a b", "c"]', "--data.class_names", "n")
    assert accuracy.command == ("eval", "--data", "photos", *options)


def test_a_record_with_other_classes_has_its_matrix_left_out(bundle, tmp_path):
    write_record(tmp_path / "r.json", "eval", EVAL | {"labels": ["x", "y"]}, seed=None, threads=None)
    assert titles(gather(bundle)) == ["Accuracy", "Artefacts", "Checks against torch"]


def test_data_is_evaluated_and_the_surest_mistakes_come_first(bundle, photos):
    findings = gather(bundle, data=EvaluationData(source=str(photos), batch_size=3))
    (accuracy,) = findings.accuracies
    assert (accuracy.label, accuracy.images, accuracy.served) == ("bundle/onnx-fp32", 8, "test")
    # The expected answers for the eight pictures, computed with numpy.
    files = sorted((photos / "test").glob("*/*.png"))
    pixels = np.stack([np.asarray(Image.open(file)) for file in files])
    logits = expected_logits(pixels.transpose(0, 3, 1, 2).astype(np.float32) / 255)
    odds = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    best = odds.argmax(1)
    right = np.array([LABELS[index] == file.parent.name for index, file in zip(best, files, strict=True)])
    assert 0 < right.sum() < 8
    assert accuracy.scalars["top1"] == pytest.approx(100 * right.mean())
    mistakes = [answer for answer in findings.answers if not answer.is_right]
    doubtful = [answer for answer in findings.answers if answer.is_right]
    assert [*findings.answers] == mistakes + doubtful
    # float32 logits
    assert [answer.rank_value for answer in mistakes] == pytest.approx(sorted(odds.max(1)[~right])[::-1], rel=1e-5)
    assert [answer.rank_value for answer in doubtful] == pytest.approx(sorted(odds.max(1)[right]), rel=1e-5)
    for answer in findings.answers:
        (index,) = (i for i, picture in enumerate(pixels) if np.array_equal(picture, answer.pixels))
        assert (answer.truth, answer.prediction) == (files[index].parent.name, LABELS[best[index]])
    assert make_report(findings).gallery is not None


def test_mistakes_of_a_subset_of_the_classes_are_among_them(bundle, photos):
    findings = gather(bundle, data=EvaluationData(source=str(photos), classes=["dog", "bee"]))
    assert {answer.truth for answer in findings.answers} == {"dog", "bee"}
    assert {answer.prediction for answer in findings.answers} <= {"dog", "bee"}
    assert (findings.accuracies[0].labels, findings.accuracies[0].images) == (("bee", "dog"), 4)


def test_what_is_measured_now_replaces_its_record(bundle, photos, tmp_path):
    data = EvaluationData(source=str(photos))
    engine = gather(bundle, data=data).accuracies[0].engine
    facts = {"engine": engine, "data": {"source": str(photos), "split": "test", "served": "test"}}
    write_record(tmp_path / "old.json", "eval", EVAL | facts, seed=None, threads=None)
    write_record(tmp_path / "of_other_data.json", "eval", EVAL, seed=None, threads=None)
    now, kept = gather(bundle, data=data).accuracies
    assert now.images == 8
    assert kept.source == "photos"


@pytest.mark.parametrize("order", ["rgb", "bgr"])
def test_pixels_come_back_from_an_input(order):
    preprocessing = Preprocessing(size=(1, 1), mean=(0.5, 0.25, 0.125), std=(0.5, 0.25, 2.0), channel_order=order)
    pixel = np.array([10, 200, 30]) if order == "rgb" else np.array([30, 200, 10])
    image = (pixel / 255 - preprocessing.mean) / preprocessing.std
    assert to_pixels(image.reshape(3, 1, 1), preprocessing).ravel().tolist() == [10, 200, 30]


def test_a_folder_may_hold_a_run_and_bundles(run, bundle, tmp_path):
    findings = gather(tmp_path)
    assert findings.run is not None
    assert findings.run.folder == run
    assert [entry.folder for entry in findings.bundles] == [bundle]


def test_what_is_neither_run_nor_bundle_is_refused(tmp_path, run):
    (tmp_path / "empty").mkdir()
    (tmp_path / "file.txt").write_text("")
    for name, complaint in (("empty", "neither a run"), ("file.txt", "a file"), ("nowhere", "no such folder")):
        with pytest.raises(InputError, match=rf"{name}: {complaint}"):
            gather(tmp_path / name)
    shutil.copytree(run, tmp_path / "run2")
    with pytest.raises(InputError, match=r"several runs \(run, run2\)"):
        gather(tmp_path)


def test_a_run_without_a_checkpoint_cannot_be_evaluated(run):
    with pytest.raises(InputError, match="nothing to evaluate yet"):
        gather(run, data=EvaluationData(source="digits"))


def test_a_damaged_configuration_is_named(run):
    (run / "config.yaml").write_text("a: [")
    with pytest.raises(InputError, match=r"config\.yaml"):
        gather(run)


def test_a_check_that_was_not_run_says_why(bundle):
    contract = read_contract(bundle)
    (artefact,) = contract.artefacts
    check = Check(engine="ncnn", passed=None, reason="no such operator")
    artefact = replace(artefact, checks=(*artefact.checks, check))
    write_contract(replace(contract, artefacts=(artefact,)), bundle)
    table = next(table for table in make_report(gather(bundle)).tables if table.title == "Checks against torch")
    assert table.rows[1] == ("bundle/onnx-fp32", "ncnn", "not run: no such operator", "", "", "")
