from types import SimpleNamespace

import pytest
import torch
from rich.console import Console

from parckit.tasks import progress
from parckit.tasks.progress import EpochLines, progress_display

MONITORS = ("val_loss", "val_top1")


def counted(*, loss: float | None = None, rate: float | None = 12.0, latest: float | None = None) -> SimpleNamespace:
    """Return what `StepMetrics` would have counted in an epoch."""
    return SimpleNamespace(mean_loss=loss, images_per_second=rate, latest_loss=latest)


def module(*, steps: int) -> SimpleNamespace:
    """Return what the callbacks ask a module that trains so many steps."""
    return SimpleNamespace(plan=SimpleNamespace(steps=steps))


def test_the_time_left_is_that_of_the_steps_left(monkeypatch):
    clock = iter([1000.0, 1060.0])
    monkeypatch.setattr(progress, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    run = SimpleNamespace(global_step=300, current_epoch=3)  # resumed there
    told: list[str] = []
    lines = EpochLines(counted(), monitors=MONITORS, tell=told.append)
    lines.on_train_start(run, None)
    run.global_step = 500
    lines.on_train_epoch_end(run, module(steps=900))
    assert told == ["epoch 4, step 500 of 900: images/s 12; 0:01:00 gone, about 0:02:00 left"]


def test_a_line_tells_of_its_own_epoch_alone():
    run = SimpleNamespace(global_step=0, current_epoch=0)
    run.callback_metrics = {name: torch.tensor(2.5) for name in ("val_loss", "val_top1", "val_top5")}
    metrics, told = counted(), []
    lines = EpochLines(metrics, monitors=MONITORS, tell=told.append)
    lines.on_train_start(run, None)
    for loss, is_trial in ((3.0, False), (1.0, True)):  # the second epoch is not validated
        metrics.mean_loss, run.sanity_checking = loss, is_trial
        lines.on_validation_end(run, None)
        lines.on_train_epoch_end(run, module(steps=4))
    first, second = (line.partition(": ")[2].partition(";")[0] for line in told)
    assert first == "train_loss 3, val_loss 2.5, val_top1 2.5, images/s 12"
    assert second == "train_loss 1, images/s 12"


def test_an_epoch_without_a_batch_of_its_own_is_no_news():
    told: list[str] = []
    lines = EpochLines(counted(rate=None), monitors=MONITORS, tell=told.append)
    lines.on_train_epoch_end(SimpleNamespace(), module(steps=4))
    assert told == []


@pytest.mark.parametrize(
    ("metrics", "shown"),
    [(counted(latest=2.0), {"train_loss": 2.0, "images/s": 12.0}), (counted(rate=None), {})],
)
def test_a_bar_shows_the_logged_loss_and_the_rate_of_now(monkeypatch, metrics, shown):
    monkeypatch.setattr(progress, "get_console", lambda: Console(force_terminal=True))
    trainer = SimpleNamespace(loggers=[], progress_bar_metrics={"val_top1": 50.0})
    shown_by = progress_display(metrics, monitors=MONITORS, tell=print)
    assert shown_by.get_metrics(trainer, None) == {"val_top1": 50.0, **shown}
