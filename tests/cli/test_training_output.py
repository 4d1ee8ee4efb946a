import re
from types import SimpleNamespace

import torch
from rich.console import Console

from parckit.cli import training_output
from parckit.cli.training_output import EpochLines, progress_display

BRIEF = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.max_epochs=2")


def test_where_no_bar_can_be_drawn_every_epoch_is_a_line(start_training, tmp_path, parckit, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    _, first, second, *_ = parckit(*start_training, *BRIEF, "--out", tmp_path / "run").splitlines()
    numbers = r"train_loss \S+, val_loss \S+, val_top1 \S+, images/s \S+; \d:\d\d:\d\d gone, about"
    assert re.fullmatch(rf"epoch 1, step 2 of 4: {numbers} \d:\d\d:\d\d left", first)
    assert re.fullmatch(rf"epoch 2, step 4 of 4: {numbers} 0:00:00 left", second)


def counted(*, loss: float | None, rate: float = 12.0) -> SimpleNamespace:
    """Return what `StepMetrics` would have counted in an epoch."""
    return SimpleNamespace(mean_loss=loss, images_per_second=rate, latest={})


def test_the_time_left_is_that_of_the_steps_left(monkeypatch, capsys):
    clock = iter([1000.0, 1060.0])
    monkeypatch.setattr(training_output, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = SimpleNamespace(global_step=300, estimated_stepping_batches=900, current_epoch=3)  # resumed there
    lines = EpochLines(counted(loss=None))
    lines.on_train_start(run, None)
    run.global_step = 500
    lines.on_train_epoch_end(run, None)
    told = "epoch 4, step 500 of 900: images/s 12; 0:01:00 gone, about 0:02:00 left\n"
    assert capsys.readouterr().out == told


def test_a_line_tells_of_its_own_epoch_alone(capsys):
    run = SimpleNamespace(global_step=0, estimated_stepping_batches=4, current_epoch=0)
    run.callback_metrics = {"val_loss": torch.tensor(2.5), "val_top1": torch.tensor(50.0)}
    lines = EpochLines(counted(loss=3.0))
    lines.on_train_start(run, None)
    for is_trial in (False, True):  # the second epoch is not validated
        run.sanity_checking = is_trial
        lines.on_validation_end(run, None)
        lines.on_train_epoch_end(run, None)
    first, second = (line.partition(": ")[2].partition(";")[0] for line in capsys.readouterr().out.splitlines())
    assert first == "train_loss 3, val_loss 2.5, val_top1 50, images/s 12"
    assert second == "train_loss 3, images/s 12"


def test_a_bar_shows_the_logged_loss_and_the_rate_of_now(monkeypatch):
    monkeypatch.setattr(training_output, "get_console", lambda: Console(force_terminal=True))
    steps = counted(loss=3.0)
    steps.latest = {"train_loss": 2.0, "lr": 0.1, "images/s": 11.0}
    bar = progress_display(steps)
    shown = bar.get_metrics(SimpleNamespace(loggers=[], progress_bar_metrics={"val_top1": 50.0}), None)
    assert shown == {"val_top1": 50.0, "train_loss": 2.0, "images/s": 12.0}
