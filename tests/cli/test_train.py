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


def epochs(metrics: Path) -> list[int]:
    with metrics.open() as file:
        return sorted({int(row["epoch"]) for row in csv.DictReader(file)})


def monitored(checkpoint: Path) -> float:
    """Return the best value that a checkpoint remembers."""
    states = torch.load(checkpoint, weights_only=True)["callbacks"]
    (best,) = (state for name, state in states.items() if "'monitor': 'val_loss'" in name)
    return float(best["best_model_score"])


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
    learned = [open_checkpoint(begun / "last.ckpt")[0].state_dict()]  # from nobody
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
    # The weights of the beginning are averaged too.
    assert (states["global_step"], states["averaging_state"]["n_averaged"]) == (4, 1 + 4)


def test_few_pictures_of_ones_own_begin_at_the_shipped_weights(tmp_path, parckit):
    source = write_pictures(tmp_path / "photos", count=8)
    options = ("--trainer.max_epochs=1", "--trainer.limit_train_batches=2", "--data.batch_size=4", "--data.workers=0")
    parckit("train", "--config=classify/finetune_small", "--data", source, "--out", tmp_path / "run", *options)
    found, spec = open_checkpoint(tmp_path / "run" / "best.ckpt")
    shipped = timm.create_model("parcnet_xs.cifar10", pretrained=True)
    assert (spec.labels, spec.preprocessing.size) == (("blue", "green", "red"), (96, 96))
    theirs = shipped.state_dict()
    changes = [
        float((weight - theirs[name]).norm() / weight.norm())
        for name, weight in found.state_dict().items()
        if weight.ndim > 1 and not name.startswith("head.")
    ]
    assert 0 < max(changes) < 0.1  # other weights would be away by more than their own length


def test_where_no_bar_can_be_drawn_every_epoch_is_a_line(start_training, tmp_path, parckit, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    options = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=true")
    _, first, second, *_ = parckit(*start_training, *options, "--out", tmp_path / "run").splitlines()
    numbers = r"train_loss \S+, val_loss \S+, val_top1 \S+, images/s \S+; \d:\d\d:\d\d gone, about"
    assert re.fullmatch(rf"epoch 1, step 2 of 4: {numbers} \d:\d\d:\d\d left", first)
    assert re.fullmatch(rf"epoch 2, step 4 of 4: {numbers} 0:00:00 left", second)


def test_it_says_where_things_are(start_training, tmp_path, parckit):
    printed = parckit(*start_training, "--out", tmp_path / "run")
    assert printed.splitlines()[1:] == [
        f"best checkpoint: {tmp_path}/run/best.ckpt",
        f"last checkpoint: {tmp_path}/run/last.ckpt",
        f"metrics: {tmp_path}/run/logs/version_0/metrics.csv",
        f"configuration: {tmp_path}/run/config.yaml",
    ]
    assert all(Path(line.split(": ")[1]).is_file() for line in printed.splitlines()[1:])


def test_the_saved_configuration_gives_the_same_run(begun, tmp_path, parckit):
    parckit("train", "--config", begun / "config.yaml", "--out", tmp_path / "again")
    first, second = (yaml.safe_load((out / "config.yaml").read_text()) for out in (begun, tmp_path / "again"))
    assert second == first | {"out": str(tmp_path / "again")}


def test_the_saved_configuration_neither_overwrites_nor_resumes(begun, tmp_path, start_training, parckit):
    options = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2", "--overwrite")
    parckit(*start_training, "--out", tmp_path / "new", *options)
    assert not {"overwrite", "resume"} & yaml.safe_load((tmp_path / "new" / "config.yaml").read_text()).keys()


def test_a_training_is_not_overwritten_unasked(start_training, begun, tmp_path, mistake, parckit):
    out = shutil.copytree(begun, tmp_path / "run")
    message = mistake(*start_training, "--out", out)
    assert message.startswith(f"--out {out}: ")
    assert f"--resume {out}/last.ckpt" in message
    before = {path.name: path.read_bytes() for path in out.glob("*.ckpt")}
    assert message == mistake(*start_training, "--out", out, "--resume", begun / "last.ckpt")
    assert "--overwrite" in mistake(*start_training, "--out", out, "--resume=auto", "--overwrite")
    # Found only when the trainer has the data, and still before anything is replaced.
    assert "val_check" in mistake(*start_training, "--out", out, "--overwrite", "--trainer.val_check_interval=1000")
    assert before == {path.name: path.read_bytes() for path in out.glob("*.ckpt")}
    parckit(*start_training, "--out", out, "--overwrite")
    assert torch.load(out / "last.ckpt", weights_only=True)["global_step"] == 2


def test_the_best_checkpoint_alone_is_not_overwritten_either(start_training, begun, tmp_path, mistake):
    (tmp_path / "run").mkdir()
    best = Path(shutil.copy(begun / "best.ckpt", tmp_path / "run"))
    message = mistake(*start_training, "--out", tmp_path / "run", "--resume=auto")
    assert f"go on with --resume {best}" in message
    assert best.read_bytes() == (begun / "best.ckpt").read_bytes()


def test_a_resumed_run_goes_on_with_the_next_epoch(start_training, begun, tmp_path, parckit):
    out = shutil.copytree(begun, tmp_path / "run")
    last = out / "last.ckpt"
    steps, best = torch.load(last, weights_only=True)["global_step"], monitored(last)
    parckit(*start_training, "--out", out, "--resume", last, "--trainer.max_epochs=2")
    assert epochs(out / "logs" / "version_1" / "metrics.csv") == [1]
    found = torch.load(last, weights_only=True)
    assert (found["epoch"], found["global_step"]) == (1, steps + 2)
    assert found["averaging_state"]["n_averaged"] == 1 + steps + 2  # the initial weights are averaged too
    # best.ckpt is judged by all epochs, those before the interruption too.
    assert monitored(last) <= best


def test_a_run_may_go_on_in_another_folder(start_training, begun, tmp_path, parckit):
    options = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2")
    parckit(*start_training, "--out", tmp_path / "new", *options)
    assert (tmp_path / "new" / "best.ckpt").is_file()
    assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True)["epoch"] == 1


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--model.kwargs.img_size=64"], "its model, labels or preprocessing"),
        (["--data.preprocessing.size=[48, 48]"], "its model, labels or preprocessing"),
        (["--model.optimizer.name=sgd"], "only with --model.optimizer.name adamw, not sgd"),
        (["--model.optimizer.decay_all=true"], "only with --model.optimizer.decay_all False, not True"),
        (["--model.optimizer.options={betas: [0.8, 0.9]}"], "only with --model.optimizer.options {}, not "),
        (["--ema=null"], "only with --ema given, not null"),
        (["--model.freeze=backbone"], "only with --model.freeze null, not backbone"),
        (["--trainer.max_epochs=1"], "no epoch was both trained and validated"),
    ],
    ids=str,
)
def test_what_cannot_go_on_is_refused(options, named, start_training, begun, tmp_path, mistake):
    argv = (*start_training, "--out", tmp_path / "run", "--resume", begun / "last.ckpt", *options)
    assert named in mistake(*argv)


def test_a_run_that_no_longer_improves_ends_once(start_training, tmp_path, parckit):
    # A learning rate of almost 0 improves nothing, and the loss must be less than before, not equal.
    still = ("--model.optimizer.lr=1e-30", "--model.schedule.min_lr=0", "--monitor=val_top1", "--trainer.max_epochs=9")
    argv = (*start_training, *still, "--patience=2", "--resume=auto", "--out", tmp_path)
    told = "in 2 validations (--patience 2)"
    for _ in range(2):  # what has ended ends again
        assert told in parckit(*argv)
        last = torch.load(tmp_path / "last.ckpt", weights_only=True)
        assert (last["epoch"], last["global_step"]) == (2, 6)
    assert "(--patience 4)" in parckit(*argv, "--patience=4")
    assert torch.load(tmp_path / "last.ckpt", weights_only=True)["epoch"] == 4
    assert "ended: " not in parckit(*argv, "--patience=null", "--trainer.max_epochs=6")


def test_other_images_of_the_same_classes_are_refused(start_training, begun, digit_folder, tmp_path, mistake):
    for split in ("train", "val"):
        shutil.copytree(digit_folder, tmp_path / "images" / split)
    options = ("--data", tmp_path / "images", "--data.batch_size=10", "--resume", begun / "last.ckpt")
    message = mistake(*start_training, *options, "--out", tmp_path / "run")
    assert message.endswith("goes on only with a number of training images of 1255, not 10")
    assert not (tmp_path / "run").exists()


def test_between_epochs_much_may_change(start_training, begun, tmp_path, parckit):
    options = ("--seed=1", "--data.batch_size=16", "--trainer.accumulate_grad_batches=2", "--model.optimizer.lr=0.01")
    start = ("--resume", begun / "last.ckpt", "--trainer.max_epochs=2")
    parckit(*start_training, *options, *start, "--out", tmp_path / "run")
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["epoch"] == 1


def test_only_a_training_can_be_resumed(start_training, begun, tmp_path, mistake):
    weights, cut = tmp_path / "weights.safetensors", tmp_path / "cut.ckpt"
    save_weights(*open_checkpoint(begun / "last.ckpt"), weights)
    cut.write_bytes((begun / "last.ckpt").read_bytes()[:5000])
    for path in (weights, cut, tmp_path / "missing.ckpt"):
        assert str(path) in mistake(*start_training, "--out", tmp_path / "run", "--resume", path)
        assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "named"),
    [
        (["--config=classify/nothing"], "--config classify/nothing"),
        (["--nope=3"], "--nope=3"),
        (["--trainer.max_epoch=3"], "--trainer.max_epoch=3"),
        (["--model.nam=x"], "--model.nam=x"),
        (["--data=no/such/folder"], "no/such/folder"),
        (["--data=https://host/train-0.tar"], "https://host/train-0.tar: parckit reads shards from disk; copy them"),
        (["--model.name=no_such_model"], "no_such_model"),
        (["--model.kwargs.depth=3"], "'depth'"),
        (["--model.optimizer.lr=-1"], "lr=-1"),
        (["--model.optimizer.lr=fast"], "--model.optimizer.lr"),
        (["--task.label_smoothing=2"], "label_smoothing=2"),
        (["--data.batch_size=0"], "batch_size=0"),
        (["--data.batch_size=5000"], "batch_size=5000"),
        (["--data.preprocessing.size=[0, 3]"], "size=(0, 3)"),
        (["--task.augment.crop=round"], "--task.augment.crop"),
        (["--ema.decay=2"], "ema.decay=2"),
        (["--monitor=luck"], "--monitor"),
        (["--keep_best=0"], "--keep_best"),
        (["--patience=0"], "--patience"),
        (
            ["--model.kwargs.in_chans=1"],
            "in_chans: 1 in model.kwargs and channel_order: grey",
        ),
        (["--model.freeze=9"], "freeze=9: test_parcnetv2 has 4 stages"),
        (["--model.freeze=true"], "--model.freeze"),
        (["--data.class_names=no/such.txt"], "no/such.txt: cannot be read"),
        (["--save_minutes=0"], "--save_minutes"),
        (["--seed=-1"], "--seed"),
        (["--trainer.accelerator=abacus"], "accelerator='abacus'"),
        (["--trainer.max_epochs=-3"], "max_epochs"),
        (["--trainer.precision=wild"], "--trainer.precision"),
        (["--trainer.limit_val_batches=0"], "--trainer.limit_val_batches 0"),
        (["--trainer.val_check_interval=0"], "--trainer.val_check_interval 0"),
        (["--trainer.accumulate_grad_batches=0"], "--trainer.accumulate_grad_batches 0"),
        (["--trainer.log_every_n_steps=-1"], "--trainer.log_every_n_steps -1"),
        (["--trainer.fast_dev_run=true"], "--trainer.fast_dev_run"),
        (["--trainer.max_time=00:00:05:00"], "--trainer.max_time 00:00:05:00: leaves out the rest of its epoch"),
        (["--trainer.max_epochs=0"], "--trainer.max_steps, --trainer.max_epochs: the schedule needs"),
        (["--trainer.max_epochs=-1"], "--trainer.max_steps, --trainer.max_epochs: the schedule needs"),
        (["--trainer.devices=2", "--trainer.sync_batchnorm=true"], "--trainer.sync_batchnorm true"),
        (["--model.name=resnet18", "--model.kwargs={img_size: 32}"], "img_size"),
    ],
    ids=str,
)
def test_mistakes_are_named_and_leave_nothing(options, named, start_training, tmp_path, mistake):
    assert named in mistake(*start_training, "--out", tmp_path / "run", *options)
    assert not (tmp_path / "run").exists()


def test_without_a_recipe_the_needed_options_are_named(mistake):
    message = mistake("train")
    assert all(name in message for name in ("model.name", "data.source", "data.preprocessing.size"))


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("model: {nam: x}", "CONFIG: 'model.nam' is an unknown key"),
        ("trainer: {max_epoch: 3}", "CONFIG: 'trainer.max_epoch' is an unknown key"),
        ("epochs: 3", "CONFIG: 'epochs' is an unknown key"),
        ("trainer: {max_epochs: x}", "CONFIG: --trainer.max_epochs: "),
        ("data: {preprocessing: {siz: 3}}", "CONFIG: 'data.preprocessing.siz' is an unknown key"),
        ("model: [", "CONFIG"),
        ("just words", "CONFIG"),
    ],
)
def test_mistakes_in_a_configuration_are_named(text, named, tmp_path, mistake):
    path = tmp_path / "mine.yaml"
    path.write_text(text)
    message = mistake("train", "--config", path, "--out", tmp_path / "run")
    assert named.replace("CONFIG", f"--config {path}") in message


def test_a_configuration_that_is_no_text_is_named(picture, mistake):
    assert mistake("train", "--config", picture).startswith(f"--config {picture}: ")


def test_a_validation_that_an_epoch_is_too_short_for_is_an_error(start_training, tmp_path, mistake):
    message = mistake(*start_training, "--out", tmp_path / "run", "--trainer.val_check_interval=100")
    assert message.startswith("--trainer: `val_check_interval` (100) must be less than or equal")


def test_a_broken_image_ends_the_run_with_its_name(start_training, digit_folder, tmp_path, mistake):
    path = digit_folder / "3" / "000.png"
    for split in ("train", "val"):
        shutil.copytree(digit_folder, tmp_path / "images" / split)
    path = tmp_path / "images" / "train" / "3" / "000.png"
    path.write_bytes(b"")
    options = ("--data", tmp_path / "images", "--data.batch_size=10")
    message = mistake(*start_training, *options, "--out", tmp_path / "run")
    assert message.startswith(f"{path}: ")
    assert "--data.on_error skip" in message


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


def test_what_the_data_decide_cannot_be_given(start_training, mistake):
    assert "model.labels" in mistake(*start_training, "--model.labels=[a, b]")


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--trainer.check_val_every_n_epoch=2"], "ends after 2 steps, before the first validation at 4"),
        (["--trainer.max_steps=1"], "ends after 1 steps, before the first validation at 2"),
        (["--trainer.max_steps=1", "--trainer.val_check_interval=0.5"], None),
        (["--trainer.max_steps=1", "--trainer.val_check_interval=00:00:00:00"], None),
    ],
    ids=str,
)
def test_a_run_that_ends_before_its_first_validation_is_refused(
    options, told, start_training, tmp_path, parckit, mistake
):
    argv = (*start_training, *options, "--out", tmp_path / "run")
    if told is None:
        parckit(*argv)
    else:
        assert mistake(*argv) == f"--trainer: the run {told}"
        assert not list((tmp_path / "run").glob("*.ckpt"))


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
