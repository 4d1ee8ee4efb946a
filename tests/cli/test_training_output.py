import re
from types import SimpleNamespace

import torch

from parckit.cli import training_output
from parckit.cli.training_output import EpochLines

BRIEF = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.max_epochs=2")


def test_where_no_bar_can_be_drawn_every_epoch_is_a_line(start_training, tmp_path, parckit, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    _, first, second, *_ = parckit(*start_training, *BRIEF, "--out", tmp_path / "run").splitlines()
    numbers = r"train_loss \S+, val_loss \S+, val_top1 \S+, images/s \S+; \d:\d\d:\d\d gone, about"
    assert re.fullmatch(rf"epoch 1, step 2 of 4: {numbers} \d:\d\d:\d\d left", first)
    assert re.fullmatch(rf"epoch 2, step 4 of 4: {numbers} 0:00:00 left", second)


def test_the_time_left_is_that_of_the_steps_left(monkeypatch, capsys):
    clock = iter([1000.0, 1060.0])
    monkeypatch.setattr(training_output, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = SimpleNamespace(global_step=300, estimated_stepping_batches=900, current_epoch=3)  # resumed there
    run.callback_metrics = {"train_loss": torch.tensor(0.25)}
    lines = EpochLines()
    lines.on_train_start(run, None)
    run.global_step = 500
    lines.on_train_epoch_end(run, None)
    told = "epoch 4, step 500 of 900: train_loss 0.25; 0:01:00 gone, about 0:02:00 left\n"
    assert capsys.readouterr().out == told
