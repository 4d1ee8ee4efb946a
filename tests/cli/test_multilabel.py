"""Several labels an image, from the list of pictures to the answers of a bundle without torch."""

import csv
import io
import json
import re
from pathlib import Path

import pytest

from labelled import write_list, write_pairs
from parckit.cli.main import main
from parckit.contract import read_contract
from parckit.measure.curve import read_run
from training_state import assert_same, state_of

TRAIN = (
    "train",
    "--config=multilabel/finetune_small",
    "--model.name=test_parcnet",
    '--model.kwargs={"img_size": 32, "depths": [1, 1, 1]}',
    "--model.weights=null",
    "--model.optimizer.lr=0.03",
    "--data.preprocessing.size=[32,64]",
    "--data.workers=0",
    "--task.augment={crop: none, flip: 0.0}",
    "--trainer.enable_progress_bar=false",
)
DIGITS = [f"digit {digit}" for digit in range(4)]


@pytest.fixture(scope="module")
def pairs(tmp_path_factory) -> Path:
    """Return a list of 180 pictures to train on and 60 to validate, with one to two digits of four."""
    return write_pairs(tmp_path_factory.mktemp("pairs") / "pictures")


@pytest.fixture(scope="module")
def run(pairs, tmp_path_factory) -> Path:
    """Return the folder of a training with balanced weights and mixup."""
    out = tmp_path_factory.mktemp("multilabel") / "run"
    options = ("--task.pos_weight=balanced", "--task.mixup=0.2", "--task.label_smoothing=0.02", "--epochs=8")
    main([*TRAIN, *options, f"--data={pairs}", f"--out={out}"])
    return out


@pytest.fixture(scope="module")
def record(run, pairs) -> Path:
    """Return the record of an evaluation on the validation pictures."""
    path = run / "val.json"
    main(["eval", str(run / "best.ckpt"), f"--data={pairs}", "--data.split=val", f"--record={path}"])
    return path


@pytest.fixture(scope="module")
def bundle(run, record) -> Path:
    """Return a bundle with the best thresholds."""
    main(["export", str(run / "best.ckpt"), f"--out={run / 'bundle'}", f"--thresholds={record}", "--opset=17"])
    return run / "bundle"


def test_it_learns_and_its_best_checkpoint_has_the_best_map(run, record):
    values = json.loads(record.read_text())["values"]
    assert values["scalars"]["map"] > 80  # chance is about 45 %, the share of pictures that have a label
    logged = [row.values["val_map"] for row in read_run(run) if "val_map" in row.values]
    # The training's batches have other sizes, so the numbers are rounded otherwise.
    assert values["scalars"]["map"] == pytest.approx(max(logged), abs=1e-3)


def test_an_engine_gives_the_same_results_with_better_thresholds(bundle, record, pairs, parckit):
    parckit("eval", bundle, "--data", pairs, "--data.split", "val", "--record", bundle.parent / "engine.json")
    before, after = (json.loads(path.read_text())["values"] for path in (record, bundle.parent / "engine.json"))
    assert after["engine"].startswith("onnxruntime ")
    # The outputs differ by rounding, which can exchange two pictures of nearly the same score.
    assert after["scalars"]["map"] == pytest.approx(before["scalars"]["map"], abs=0.1)
    assert after["tables"]["class_images"] == before["tables"]["class_images"]
    for former, better in zip(before["tables"]["class_f1"], after["tables"]["class_f1"], strict=True):
        assert better >= former - 1e-9
    (artefact,) = read_contract(bundle).artefacts
    assert artefact.decoder.defaults["threshold"] == tuple(before["tables"]["class_best_threshold"])


def test_every_label_has_a_row_with_its_best_threshold(run, pairs, parckit):
    said = parckit("eval", run / "best.ckpt", "--data", pairs, "--data.split", "val")
    assert "best threshold" in said
    assert all(label in said for label in DIGITS)
    assert (run / "best_eval.png").is_file()


def test_answers_for_programs(bundle, pairs, parckit):
    pictures = [pairs.parent / f"{number:03}.png" for number in (180, 181, 182)]
    answers = json.loads(parckit("predict", bundle, *pictures, "--json"))
    assert [*answers] == [str(path) for path in pictures]
    for entries in answers.values():
        assert len(entries) >= 3
        shares = [entry["probability"] for entry in entries]
        assert shares == sorted(shares, reverse=True)
    rows = [*csv.DictReader(io.StringIO(parckit("predict", bundle, *pictures, "--format", "csv", "--top", 1)))]
    told = {(row["picture"], row["class"]) for row in rows if row["present"] == "true"}
    expected = {(path, e["class"]) for path, entries in answers.items() for e in entries if e["present"]}
    assert told == expected


def test_one_threshold_replaces_those_of_the_bundle(bundle, pairs, parckit):
    picture = pairs.parent / "180.png"
    for threshold, is_present in ((0.0, True), (1.0, False)):
        said = parckit("predict", bundle, picture, "--json", "--threshold", threshold, "--top", 4)
        (entries,) = json.loads(said).values()
        assert [entry["present"] for entry in entries] == [is_present] * 4


def test_a_report_shows_labels(bundle, pairs, parckit):
    parckit("report", bundle, "--data", pairs, "--data.split", "val")
    page = (bundle.parent / "bundle_report.html").read_text()
    assert "Average precision" in page
    assert "Best threshold" in page
    assert "digit 0, digit" in page


def test_a_heat_map_tells_probabilities_that_do_not_add_up_to_1(run, pairs, tmp_path, parckit):
    said = parckit("cam", run / "best.ckpt", pairs.parent / "181.png", "--out", tmp_path / "cam.png")
    answer = parckit("predict", run / "best.ckpt", pairs.parent / "181.png")
    rows = [re.findall(r"(digit \d) +│ +([\d.]+) │ +([\d.]+) │ (yes|no)", text) for text in (said, answer)]
    assert len(rows[0]) == 3
    assert rows[0] == rows[1]


def test_a_classifier_does_not_learn_from_such_a_network(run, start_training, tmp_path, mistake):
    said = mistake(*start_training, f"--teacher={run / 'best.ckpt'}", f"--out={tmp_path / 'run'}")
    assert "its task is 'multilabel', not 'classify'" in said


def test_a_run_that_was_interrupted_goes_on_to_the_same_end(pairs, tmp_path):
    # It has no batch norms, which take most of the time before the first step.
    options = (f"--data={pairs}", "--task.mixup=0.5", "--task.pos_weight=balanced", "--model.name=test_parcnetv2")
    options = (*options, '--model.kwargs={"img_size": 32, "depths": [1, 1, 1, 1]}')
    whole, rest = tmp_path / "whole", tmp_path / "rest"
    main([*TRAIN, *options, "--epochs=2", "--keep_best=2", f"--out={whole}"])
    main([*TRAIN, *options, "--epochs=2", "--keep_best=2", f"--out={rest}", f"--resume={whole / 'best-0-5.ckpt'}"])
    assert_same(state_of(whole / "last.ckpt"), state_of(rest / "last.ckpt"))


def test_a_list_is_checked(pairs, parckit):
    assert "no problems found in 240 images" in parckit("data", "check", pairs, "--task", "multilabel", "--smallest", 8)


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (
            [("a", "x;y", "train"), ("b", "y", "train"), ("c", "fox", "val")],
            "not know the label fox (1); it has x, y",
        ),
        ([("a", "x", "train"), ("b", "x", "train")], "has only the label 'x'; train task classify on two classes"),
        ([("a", "x;y", "train"), ("a", "x;y", "train")], "lists a twice"),
        ([("a", "", "train"), ("b", "", "train"), ("c", "x;y", "val")], "train: no image has a label"),
        ([("a", "x;y", "train"), ("b",)], "line 3: has 1 cells; the first line has 3"),
        ([("a", "x;y", "train"), ("b", "x;y", "train"), ("c", "", "val")], "val: no image has a label"),
    ],
    ids=str,
)
def test_wrong_lists_give_one_line(tmp_path, mistake, rows, message):
    path = write_list(tmp_path / "list.csv", [("path", "labels", "split"), *rows])
    said = mistake(*TRAIN, f"--data={path}", f"--out={tmp_path / 'run'}", "--data.batch_size=2")
    assert message in said
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("option", "message"),
    [
        ("--data.sampling=balanced", "--data.sampling balanced: is impossible where images have several labels"),
        ("--task.class_weights=balanced", "class_weights"),
        ("--teacher=best.ckpt", "distillation"),
        ("--task.mixing={mixup: 0.8}", "mixing"),
        ("--task.mixup=-1", "mixup=-1"),
        ("--task.pos_weight=heavy", "pos_weight"),
        ("--task.label_smoothing=1", "label_smoothing=1"),
        ("--monitor=val_top1", "val_top1"),
    ],
)
def test_options_of_other_tasks_are_refused(pairs, tmp_path, mistake, option, message):
    assert message in mistake(*TRAIN, f"--data={pairs}", f"--out={tmp_path / 'run'}", option)


def test_a_subset_of_labels_is_refused(bundle, pairs, mistake):
    said = mistake("eval", bundle, "--data", pairs, "--data.split", "val", "--data.classes", "digit 1")
    assert "--data.classes digit 1: only classifiers can be evaluated on some of their classes" in said
