"""What `parckit train` learns, writes and prints."""

import csv
import errno
import itertools
import os
import re
import shutil
from dataclasses import replace
from pathlib import Path
from unittest.mock import Mock

import pytest
import timm
import torch
import yaml
from lightning.pytorch.loggers import CSVLogger

from parckit.contract import SPEC_KEY
from parckit.networks import open_checkpoint, save_weights
from parckit.tasks import StepMetrics
from pictures import write_pictures


def test_a_run_leaves_checkpoints_logs_and_its_configuration(begun):
    logs = begun / "logs" / "version_0"
    assert {path.name for path in begun.iterdir()} >= {"best.ckpt", "last.ckpt", "config.yaml", "logs"}
    assert list(logs.glob("events.out.tfevents.*"))
    with (logs / "metrics.csv").open() as file:
        header = next(csv.reader(file))
    assert {"epoch", "step", "train_loss", "lr", "images/s", "val_loss", "val_top1", "val_top5"} == {*header}
    _, spec = open_checkpoint(begun / "best.ckpt")
    assert spec.labels == tuple("0123456789")
    assert spec.preprocessing.size == (32, 32)


@pytest.mark.parametrize(("every", "logged"), [(3, [0, 2]), (0, [])])
def test_rows_of_training_and_validation_count_the_same_steps(start_training, tmp_path, parckit, every, logged):
    options = ("--trainer.max_epochs=2", f"--trainer.log_every_n_steps={every}")
    parckit(*start_training, *options, "--out", tmp_path / "run")
    with (tmp_path / "run" / "logs" / "version_0" / "metrics.csv").open() as file:
        rows = list(csv.DictReader(file))
    trained, validated = ([int(row["step"]) for row in rows if row.get(name)] for name in ("train_loss", "val_loss"))
    assert (trained, validated) == (logged, [1, 3])


def test_a_log_that_cannot_be_written_ends_in_one_line(start_training, begun, tmp_path, parckit, mistake, monkeypatch):
    out = shutil.copytree(begun, tmp_path / "run")
    go_on = (*start_training, "--out", out, "--resume=auto", "--trainer.max_epochs=2", "--trainer.log_every_n_steps=1")
    intact = "the checkpoints in it are intact, --resume auto goes on from the last checkpoint"
    for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS):
        monkeypatch.setattr(CSVLogger, "save", Mock(side_effect=OSError(number, os.strerror(number))))
        assert mistake(*go_on) == f"--out {out}: {os.strerror(number)}; {intact}"
        assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 2
    monkeypatch.undo()
    parckit(*go_on)
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 4


def test_a_teacher_changes_what_is_learned_also_after_a_resume(start_training, begun, tmp_path, parckit):
    kinds = {"soft": (), "hard": ("--task.distillation.kind=hard",), "features": ("--task.distillation.features=1",)}
    learned = [open_checkpoint(begun / "last.ckpt")[0].state_dict()]  # learned without a teacher
    for name, options in kinds.items():
        teacher = ("--teacher", begun / "best.ckpt", "--task.distillation.weight=1")
        argv = (*start_training, *teacher, *options, "--out", tmp_path / name)
        parckit(*argv)
        learned.append(open_checkpoint(tmp_path / name / "last.ckpt")[0].state_dict())
    for one, other in itertools.combinations(learned, 2):
        assert one.keys() == other.keys()
        assert not all(torch.equal(one[key], other[key]) for key in one)
    parckit(*argv, "--resume=auto", "--trainer.max_epochs=2")
    states = torch.load(tmp_path / "features" / "last.ckpt", weights_only=True)
    # The average contains the first weights, too.
    assert (states["global_step"], states["averaging_state"]["n_averaged"]) == (4, 1 + 4)


def test_few_pictures_of_ones_own_begin_at_the_shipped_weights(tmp_path, parckit):
    source = write_pictures(tmp_path / "photos", count=8)
    options = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.batch_size=4", "--data.workers=0")
    parckit("train", "--config=classify/finetune_small", "--data", source, "--out", tmp_path / "run", *options)
    finetuned, spec = open_checkpoint(tmp_path / "run" / "best.ckpt")
    shipped = timm.create_model("parcnet_xs.cifar10", pretrained=True)
    assert (spec.labels, spec.preprocessing.size) == (("blue", "green", "red"), (96, 96))
    theirs = shipped.state_dict()
    changes = [
        float((weight - theirs[name]).norm() / weight.norm())
        for name, weight in finetuned.state_dict().items()
        if weight.ndim > 1 and not name.startswith("head.")
    ]
    assert 0 < max(changes) < 0.1  # unrelated weights would differ by more than their norm


def test_where_no_bar_can_be_drawn_every_epoch_is_a_line(start_training, tmp_path, parckit, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    options = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=true")
    first, second = parckit(*start_training, *options, "--out", tmp_path / "run").splitlines()[5:7]
    numbers = r"train_loss \S+, val_loss \S+, val_top1 \S+, images/s \S+; \d:\d\d:\d\d gone, about"
    assert re.fullmatch(rf"epoch 1, step 2 of 4: {numbers} \d:\d\d:\d\d left", first)
    assert re.fullmatch(rf"epoch 2, step 4 of 4: {numbers} 0:00:00 left", second)


def test_it_says_where_things_are(start_training, tmp_path, parckit):
    printed = parckit(*start_training, "--out", tmp_path / "run")
    assert [line.partition(" (")[0] for line in printed.splitlines()[:5]] == [
        "digits: 10 classes: 0, 1, 2, 3, 4, 5, ...",
        "training: 1255 images, train",
        "validation: 178 images, val",
        "left out: nothing",
        "32 images per step",
    ]
    assert printed.splitlines()[5:] == [
        f"best checkpoint: {tmp_path}/run/best.ckpt",
        f"last checkpoint: {tmp_path}/run/last.ckpt",
        f"metrics: {tmp_path}/run/logs/version_0/metrics.csv",
        f"configuration: {tmp_path}/run/config.yaml",
    ]
    assert all(Path(line.split(": ")[1]).is_file() for line in printed.splitlines()[5:])


def test_broken_images_can_be_skipped(start_training, digit_folder, tmp_path, parckit, caplog):
    for split in ("train", "val"):
        shutil.copytree(digit_folder, tmp_path / "images" / split)
    (tmp_path / "images" / "train" / "3" / "000.png").write_bytes(b"")
    options = ("--data", tmp_path / "images", "--data.batch_size=10", "--data.on_error=skip")
    parckit(*start_training, *options, "--out", tmp_path / "run")
    assert "epoch 0: 1 broken images were skipped" in caplog.messages


def test_an_interrupt_ends_in_one_line(start_training, tmp_path, mistake, monkeypatch):
    def interrupt(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(StepMetrics, "on_train_batch_end", interrupt)
    message = mistake(*start_training, "--out", tmp_path / "run", code=130)
    assert message == "interrupted; --resume auto goes on from the last checkpoint"


def test_checkpoints_open_without_running_code(begun):
    for name in ("best.ckpt", "last.ckpt"):
        assert torch.load(begun / name, weights_only=True)[SPEC_KEY]["backbone"] == "test_parcnetv2"


def test_images_can_have_the_colours_that_the_weights_expect(start_training, begun, tmp_path, parckit):
    colours = {"mean": (0.1, 0.2, 0.3), "std": (0.4, 0.5, 0.6), "channel_order": "bgr"}
    model, spec = open_checkpoint(begun / "best.ckpt")
    expecting = replace(spec, preprocessing=replace(spec.preprocessing, crop_pct=0.5, **colours))
    save_weights(model, expecting, tmp_path / "weights.safetensors")
    options = ("--model.weights", tmp_path / "weights.safetensors", "--match_weights=true")
    parckit(*start_training, *options, "--out", tmp_path / "run")
    _, trained = open_checkpoint(tmp_path / "run" / "best.ckpt")
    assert trained.preprocessing == replace(spec.preprocessing, **colours)
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())["data"]["preprocessing"]
    assert (tuple(saved["mean"]), saved["channel_order"]) == (colours["mean"], "bgr")
