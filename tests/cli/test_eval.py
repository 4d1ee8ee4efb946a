import json
import os
import re
import signal
import sys

import numpy as np
import pytest
from PIL import Image

from parckit.contract import sha256_of
from parckit.data.digits import DigitsTable


@pytest.fixture
def evaluate(parckit, tmp_path, monkeypatch):
    """Return a function that evaluates, and gives what the record says. The picture, which takes long, is not drawn."""

    def run(artefact, *options) -> dict:
        path = tmp_path / "found.json"
        with monkeypatch.context() as patch:
            patch.setattr("parckit.cli.eval.save_figure", lambda figure, path: None)
            parckit("eval", artefact, *options, "--record", path, "--picture", tmp_path / "confusion.png")
        return json.loads(path.read_text())["values"]

    return run


def test_the_record_holds_what_was_found(checkpoint, evaluate):
    values = evaluate(checkpoint, "--data", "digits")
    names = "task labels scalars tables images skipped artefact model engine sha256 data"
    assert values.keys() == {*names.split()}
    assert values["sha256"] == sha256_of(checkpoint)
    scalars, tables = values["scalars"], values["tables"]
    confusion = np.array(tables["confusion"])
    assert confusion.shape == (10, 10)
    assert confusion.sum() == values["images"] == 364
    assert scalars["top1"] == 100 * confusion.trace() / 364
    # The training was worth it: by chance a tenth would be right.
    assert 20 < scalars["top1"] <= scalars["top5"] <= 100
    assert values["skipped"] == 0
    assert (values["labels"][3], tables["class_images"][3]) == ("3", confusion[3].sum())
    assert tables["class_recall"][3] == pytest.approx(100 * confusion[3, 3] / confusion[3].sum())
    assert values["engine"].startswith("torch ")
    assert (values["data"]["source"], values["data"]["split"]) == ("digits", "test")


def test_checkpoint_and_bundle_agree(checkpoint, bundle, evaluate):
    one, other = (evaluate(artefact, "--data=digits", "--data.split=val") for artefact in (checkpoint, bundle))
    assert other["engine"].startswith("onnxruntime ")
    # Logits that differ by millionths have the same order.
    assert (one["scalars"], one["tables"]) == (other["scalars"], other["tables"])
    assert other["sha256"] == sha256_of(bundle / "onnx-fp32" / "model.onnx")


def test_a_split_can_be_chosen(checkpoint, evaluate):
    assert evaluate(checkpoint, "--data", "digits", "--data.split", "val")["images"] == 178


def test_a_runtime_can_be_asked_for(bundle, evaluate):
    values = evaluate(bundle, "--data=digits", "--data.split=val", "--runtime", "onnxruntime", "--threads", "1")
    assert values["engine"].startswith("onnxruntime ")


def test_an_artefact_can_be_chosen(two_artefacts, animal_folder, evaluate, parckit):
    one, other = (
        evaluate(two_artefacts, "--data", animal_folder, f"--artefact={name}") for name in ("onnx-fp32", "pairs")
    )
    assert (one["artefact"], other["artefact"]) == ("onnx-fp32", "pairs")
    # Both compute the same.
    assert (one["images"], one["tables"]) == (4, other["tables"])
    assert evaluate(two_artefacts, "--data", animal_folder, "--precision=int8")["artefact"] == "pairs"
    assert " pairs " in parckit("eval", two_artefacts, "--data", animal_folder, "--artefact=pairs")


def test_the_confusion_matrix_is_drawn_beside_the_artefact(checkpoint, bundle, parckit):
    for artefact, picture in ((checkpoint, "best_eval.png"), (bundle, "bundle_eval.png")):
        printed = parckit("eval", artefact, "--data=digits", "--data.split=val")
        path = artefact.with_name(picture)
        assert str(path) in printed
        with Image.open(path) as image:
            assert min(image.size) > 300
            assert len(image.convert("L").getcolors()) > 10
    assert sorted(path.name for path in bundle.iterdir()) == ["contract.json", "onnx-fp32"]


def test_the_table_tells_the_accuracy(checkpoint, parckit, tmp_path):
    json_file = tmp_path / "found.json"
    printed = parckit("eval", checkpoint, "--data=digits", "--data.split=val", "--record", json_file)
    values = json.loads(json_file.read_text())["values"]
    assert f"{values['scalars']['top1']:.2f}" in printed
    assert f"{values['scalars']['top5']:.2f}" in printed
    assert "178" in printed


def test_the_record_tells_what_served_as_the_split(bundle, digit_folder, evaluate, parckit):
    digit_folder.rename(digit_folder.parent / "val")
    values = evaluate(bundle, "--data", digit_folder.parent)
    assert (values["data"]["split"], values["data"]["served"], values["images"]) == ("test", "val", 10)
    assert f"on {digit_folder.parent}, val" in parckit("eval", bundle, "--data", digit_folder.parent)


def test_broken_images_are_skipped_and_counted(bundle, digit_folder, evaluate):
    (digit_folder / "3" / "000.png").write_bytes(b"")
    values = evaluate(bundle, "--data", digit_folder, "--data.split=all", "--data.on_error=skip")
    assert (values["images"], values["skipped"]) == (9, 1)


def test_a_broken_image_is_named(bundle, digit_folder, mistake):
    path = digit_folder / "3" / "000.png"
    path.write_bytes(b"")
    message = mistake("eval", bundle, "--data", digit_folder, "--data.split=all")
    assert message.startswith(f"{path}: ")
    assert "--data.on_error skip" in message


def test_classes_are_matched_by_name(bundle, digit_folder, parckit, evaluate, caplog):
    (digit_folder / "9").rename(digit_folder / "nine")
    values = evaluate(bundle, "--data", digit_folder, "--data.split=all")
    assert f"--data {digit_folder}, all: the network does not know nine (1); 1 images are left out" in caplog.text
    assert (values["images"], values["data"]["served"]) == (9, "all, without nine (1)")
    assert values["tables"]["class_images"] == [1] * 9 + [0]
    assert values["tables"]["class_recall"][9] is None
    printed = parckit("eval", bundle, "--data", digit_folder, "--data.split=all")
    assert re.search(r"│ 9 +│ +0 │ +[-\d.]+ │ +- │ +- │", printed)


def test_a_subset_of_the_classes_is_evaluated(bundle, evaluate, mistake):
    digits = ("--data=digits", "--data.split=val")
    values, same = (evaluate(bundle, *digits, f"--data.classes={classes}") for classes in ("7, 3", "[3,7]"))
    assert (values["labels"], values["images"]) == (["3", "7"], sum(values["tables"]["class_images"]))
    assert same["tables"] == values["tables"]
    # Every answer is one of the two classes, so the images of both are right more often than among ten.
    whole = evaluate(bundle, *digits)["tables"]
    right, among_ten = (np.diag(tables["confusion"]) for tables in (values["tables"], whole))
    assert np.sum(values["tables"]["confusion"]) == values["images"]
    assert values["tables"]["class_images"] == [whole["class_images"][3], whole["class_images"][7]]
    assert right.sum() > among_ten[[3, 7]].sum()


@pytest.mark.parametrize(("classes", "named"), [("3,x", "no class 'x' to evaluate"), ("3", "at least two")])
def test_a_subset_that_cannot_be_evaluated_is_refused(classes, named, bundle, mistake):
    assert named in mistake("eval", bundle, "--data=digits", f"--data.classes={classes}")


@pytest.mark.skipif(sys.platform != "linux", reason="the changed class reaches loader processes only by a fork")
def test_a_loader_process_that_the_system_kills_is_told_in_one_line(bundle, mistake, monkeypatch):
    monkeypatch.setattr(DigitsTable, "load", lambda *_: os.kill(os.getpid(), signal.SIGKILL))
    message = mistake("eval", bundle, "--data=digits", "--data.workers=1")
    assert re.fullmatch(r"the system ended process \d+, .* memory .* fewer workers or a smaller batch", message)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ([], "data.source"),
        (["--data=no/such/folder"], "no/such/folder"),
        (["--data=digits", "--data.batch_size=0"], "batch_size=0"),
        (["--data=digits", "--batch=3"], "--batch=3"),
        (["--data=digits", "--threads=0"], "threads=0"),
        (["--data=digits", "--runtime=tensorflow"], "runtime='tensorflow': choose from torch, onnxruntime"),
        (["--data=digits", "--runtime=onnxruntime"], "runtime='onnxruntime' does not open it"),
        (["--data=digits", "--artefact=nms"], "artefact='nms' chooses within a bundle"),
    ],
    ids=str,
)
def test_mistakes_are_named(options, named, checkpoint, mistake):
    assert named in mistake("eval", checkpoint, *options)


def test_a_missing_checkpoint_is_named(mistake):
    assert mistake("eval", "no/such.ckpt", "--data=digits").startswith("no/such.ckpt: ")


def test_a_corrupt_checkpoint_is_named(checkpoint, tmp_path, mistake):
    path = tmp_path / "cut.ckpt"
    path.write_bytes(checkpoint.read_bytes()[:5000])
    assert mistake("eval", path, "--data=digits").startswith(f"{path}: ")


def test_a_picture_of_another_kind_is_refused_before_anything_is_evaluated(checkpoint, mistake):
    assert "confusion.jpg" in mistake("eval", checkpoint, "--data", "no such data", "--picture", "confusion.jpg")


def test_a_picture_that_nobody_asked_for_may_be_left_out(two_artefacts, animal_folder, parckit, monkeypatch):
    monkeypatch.setattr("parckit.options.values.find_obstacle", lambda _: "Read-only file system")
    picture = two_artefacts.with_name("bundle_eval.png")
    picture.unlink(missing_ok=True)
    printed = parckit("eval", two_artefacts, "--data", animal_folder)
    assert "not drawn (Read-only file system); --picture FILE draws it elsewhere" in printed
    assert not picture.exists()
