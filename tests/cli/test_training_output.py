import re
from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from parckit.cli import training_output
from parckit.cli.training_output import EpochLines, progress_display


def test_where_no_bar_can_be_drawn_every_epoch_is_a_line(start_training, tmp_path, parckit, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)
    options = ("--trainer.max_epochs=2", "--trainer.enable_progress_bar=true")
    _, first, second, *_ = parckit(*start_training, *options, "--out", tmp_path / "run").splitlines()
    numbers = r"train_loss \S+, val_loss \S+, val_top1 \S+, images/s \S+; \d:\d\d:\d\d gone, about"
    assert re.fullmatch(rf"epoch 1, step 2 of 4: {numbers} \d:\d\d:\d\d left", first)
    assert re.fullmatch(rf"epoch 2, step 4 of 4: {numbers} 0:00:00 left", second)


def counted(*, loss: float | None = None, rate: float | None = 12.0, latest: float | None = None) -> SimpleNamespace:
    """Return what `StepMetrics` would have counted in an epoch."""
    return SimpleNamespace(mean_loss=loss, images_per_second=rate, latest_loss=latest)


def test_the_time_left_is_that_of_the_steps_left(monkeypatch, capsys):
    clock = iter([1000.0, 1060.0])
    monkeypatch.setattr(training_output, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = SimpleNamespace(global_step=300, estimated_stepping_batches=900, current_epoch=3)  # resumed there
    lines = EpochLines(counted())
    lines.on_train_start(run, None)
    run.global_step = 500
    lines.on_train_epoch_end(run, None)
    told = "epoch 4, step 500 of 900: images/s 12; 0:01:00 gone, about 0:02:00 left\n"
    assert capsys.readouterr().out == told


def test_a_line_tells_of_its_own_epoch_alone(capsys):
    run = SimpleNamespace(global_step=0, estimated_stepping_batches=4, current_epoch=0)
    run.callback_metrics = {"val_loss": torch.tensor(2.5), "val_top1": torch.tensor(50.0)}
    metrics = counted()
    lines = EpochLines(metrics)
    lines.on_train_start(run, None)
    for loss, is_trial in ((3.0, False), (1.0, True)):  # the second epoch is not validated
        metrics.mean_loss, run.sanity_checking = loss, is_trial
        lines.on_validation_end(run, None)
        lines.on_train_epoch_end(run, None)
    first, second = (line.partition(": ")[2].partition(";")[0] for line in capsys.readouterr().out.splitlines())
    assert first == "train_loss 3, val_loss 2.5, val_top1 50, images/s 12"
    assert second == "train_loss 1, images/s 12"


def test_an_epoch_without_a_batch_of_its_own_is_no_news(capsys):
    lines = EpochLines(counted(rate=None))
    lines.on_train_epoch_end(SimpleNamespace(), None)
    assert not capsys.readouterr().out


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [(counted(latest=2.0), {"train_loss": 2.0, "images/s": 12.0}), (counted(rate=None), {})],
)
def test_a_bar_shows_the_logged_loss_and_the_rate_of_now(monkeypatch, metrics, shown):
    monkeypatch.setattr(training_output, "get_console", lambda: Console(force_terminal=True))
    trainer = SimpleNamespace(loggers=[], progress_bar_metrics={"val_top1": 50.0})
    assert progress_display(metrics).get_metrics(trainer, None) == {"val_top1": 50.0, **shown}
