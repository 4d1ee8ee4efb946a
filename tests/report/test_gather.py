import shutil
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bundles import LABELS, add_pairs, expected_logits, write_tiny_bundle
from parckit.contract import Check, InputError, MissingExtraError, Preprocessing, read_contract, write_contract
from parckit.measure.classification import confusion_tables
from parckit.measure.conditions import Conditions
from parckit.measure.evaluation import EvaluationData
from parckit.measure.records import write_record
from parckit.measure.timings import Timing
from parckit.processing import to_pixels
from parckit.report import gather as gathering
from parckit.report.content import make_report, write_page
from parckit.report.gather import Findings, gather
from parckit.report.mistakes import _Watch
from parckit.report.page import ModelCard, Table
from parckit.report.recorded import to_json
from parckit.runtimes import Session, open_session

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


PARITY = "Parity: the same numbers as torch?"


def bench(model: str) -> dict[str, object]:
    return {"model": model, "artefact": "onnx-fp32", "engine": "onnxruntime 1.0", "timings": [asdict(TIMING)]}


def full_bench(model: str) -> dict[str, object]:
    """Return what `parckit bench` writes about a candidate."""
    stream = {
        "images_per_second": 90.0,
        "low": 80.0,
        "high": 95.0,
        "p50_ms": 1.0,
        "p90_ms": 2.0,
        "p99_ms": 3.0,
        "repeats": 9,
    }
    timing = replace(TIMING, round_ms=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    return {
        **bench(model),
        "timings": [asdict(timing)],
        "streams": [{"streams": count, **stream} for count in (1, 2)],
        "stages": {"preprocessing_ms": 1.0, "network_ms": 2.0, "decoding_ms": 0.05},
        "loading": {"peak_bytes": 7_000_000, "load_seconds": 0.25, "first_seconds": 0.125},
        "file_bytes": 3_000_000,
    }


def titles(findings: Findings) -> list[str]:
    sections = make_report(findings).sections
    return [entry.title for section in sections for entry in (*section.tables, *section.pictures)]


def table_of(findings: Findings, title: str) -> Table:
    tables = (table for section in make_report(findings).sections for table in section.tables)
    return next(table for table in tables if table.title == title)


def test_a_bundle_alone_shows_what_its_contract_says(bundle):
    findings = gather(bundle)
    assert (findings.params, findings.run, findings.accuracies) == (12, None, ())
    assert titles(findings) == ["Artefacts", PARITY]
    report = make_report(findings)
    assert all(section.gallery is None for section in report.sections)
    assert report.provenance.commands == ()


def test_a_run_that_has_only_begun_shows_its_curve(run, tmp_path):
    findings = gather(run)
    assert findings.spec is None
    assert titles(findings) == ["Training curve"]
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
        "Confusion matrix",
        "Artefacts",
        PARITY,
        "Latency and throughput",
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
    assert titles(gather(bundle)) == ["Accuracy", "Artefacts", PARITY]


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
    assert [section.title for section in make_report(findings).sections if section.gallery] == ["Worst mistakes"]


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
    assert table_of(gather(bundle), PARITY).rows[1] == (
        "bundle/onnx-fp32",
        "ncnn",
        "not run: no such operator",
        *[""] * 6,
    )


def test_a_full_record_shows_streams_costs_and_layers(bundle, tmp_path):
    first, second = ({**full_bench("x/bundle"), "name": name} for name in ("a", "b"))
    second["timings"] = [asdict(replace(TIMING, round_ms=(9.0, 9.1, 9.2, 9.3, 9.4, 9.5)))]
    layer = {"name": "conv", "kind": "Conv", "milliseconds": 2.0, "madds": 1_000_000, "output": [1, 8]}
    profile = {"candidate": "b", "layers": [layer], "run_ms": 2.5, "threads": 1, "ceiling_gflops": 4.0}
    values = {"candidates": [first, second], "profiles": [profile], "conditions": asdict(Conditions(load_before=1.0))}
    write_record(tmp_path / "full.json", "bench", values, seed=0, threads=1)
    findings = gather(bundle)
    latency = table_of(findings, "Latency and throughput")
    # The intervals, 1 to 6 ms and 9 to 9.5 ms, do not overlap.
    assert [row[2:6] for row in latency.rows] == [
        ("1", "1", "2.50", "1.00 to 6.00"),
        ("1", "2", "2.50", "9.00 to 9.50"),
    ]
    assert table_of(findings, "Several streams at the same time").rows[1][2:5] == ("2", "90.0", "80.0 to 95.0")
    costs = ("1.00", "2.00", "0.050", "250", "125.0", "7.0", "3.00")
    assert table_of(findings, "An answer, and what loading costs").rows[0][2:] == costs
    pictures = ["Latency", "Parts of an answer", "Streams", "bundle/onnx-fp32 on onnxruntime"]
    assert titles(findings)[-4:] == pictures
    # 2 million operations in 2.5 ms are 0.8 GFLOP/s of 4.
    assert "reaches 20% of the ceiling" in make_report(findings).sections[-1].pictures[0].caption
    write_page(tmp_path / "page.html", findings)
    command = f"parckit bench {bundle} --engines onnxruntime --threads 1 --streams 2 --profile"
    assert make_report(findings).provenance.commands == (command,)


def test_the_fastest_by_the_image_is_shown_by_the_image(bundle, tmp_path):
    for name, timing in (("one", TIMING), ("pairs", replace(TIMING, batch_size=2, p50_ms=1.5 * TIMING.p50_ms))):
        write_record(
            tmp_path / f"{name}.json", "bench", bench("bundle") | {"timings": [asdict(timing)]}, seed=0, threads=1
        )
    headlines = {entry.label: entry.value for entry in make_report(gather(bundle)).headlines}
    assert headlines["Time for one image, p50"] == f"{0.75 * TIMING.p50_ms:.2f} ms"


def test_the_card_tells_origin_and_licence(bundle):
    def card() -> ModelCard:
        return make_report(gather(bundle)).card

    assert card().sections["Licence and source of the weights"].startswith("Nobody wrote down")
    contract = read_contract(bundle)
    write_contract(replace(contract, origin={"weights": "tinydet_parcnet_xs.bccd", "sha256": "12ab"}), bundle)
    assert card().facts["Weights"] == "tinydet_parcnet_xs.bccd"
    assert card().facts["SHA-256 of the weights"] == "12ab"
    assert "BCCD (MIT licence" in card().sections["Licence and source of the weights"]


def test_an_artefact_whose_engine_is_missing_is_left_out_with_a_word(bundle, photos, tmp_path, monkeypatch):
    add_pairs(bundle, made_in=tmp_path / "made")

    def open_one(folder: Path, *, artefact: str) -> Session:
        if artefact == "pairs":
            raise MissingExtraError(str(folder), package="mnn", extra="mnn")
        return open_session(folder, artefact=artefact)

    monkeypatch.setattr(gathering, "open_session", open_one)
    findings = gather(bundle, data=EvaluationData(source=str(photos)))
    assert [entry.artefact for entry in findings.accuracies] == ["onnx-fp32"]
    caption = table_of(findings, "Accuracy").caption
    assert caption.startswith("bundle/pairs was not evaluated, because the package mnn is missing.")


def test_every_picture_has_the_same_chance_to_be_drawn(bundle):
    """Of 40 pictures in batches of 16, 8 are drawn; over 400 draws, each one is drawn about equally often."""
    counts, session = np.zeros(40), open_session(bundle)
    for seed in range(400):
        watch = _Watch(session=session)
        watch._random = np.random.default_rng(seed)
        places: dict[int, int] = {}
        for start in range(0, 40, 16):
            count = min(16, 40 - start)
            places |= {place: start + index for place, index in watch._draw(count).items()}
        counts[list(places.values())] += 1
    # Each picture has 400 trials with a chance of a fifth: mean 80, standard deviation 8; 40 pictures, five deviations.
    assert counts.sum() == 400 * 8
    assert np.abs(counts - 80).max() < 40
