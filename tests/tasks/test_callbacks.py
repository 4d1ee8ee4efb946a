import logging
from types import SimpleNamespace

import pytest
import torch

from parckit.contract import InputError
from parckit.data import Batch
from parckit.tasks import SkippedImages, StepMetrics, callbacks
from pictures import COLOURS, break_picture


def batch(images: int, *, skipped: int = 0) -> Batch:
    targets = torch.zeros(images, dtype=torch.int64)
    return Batch(images=torch.zeros(images, 3, 1, 1), targets=targets, skipped=skipped)


class Log:
    """A logger that keeps what it is given, once it is told to save."""

    def __init__(self) -> None:
        self.rows: list[dict[str, float]] = []
        self._unsaved: list[dict[str, float]] = []

    def log_metrics(self, metrics: dict[str, float], step: int) -> None:
        self._unsaved.append({**metrics, "step": step})

    def save(self) -> None:
        self.rows += self._unsaved
        self._unsaved = []


def run(*, step: int = 0, every: int = 1, **others: int) -> SimpleNamespace:
    """Return what a trainer tells its callbacks, with a logger."""
    usual = {"world_size": 1, "accumulate_grad_batches": 1, "current_epoch": 0} | others
    return SimpleNamespace(global_step=step, log_every_n_steps=every, loggers=[Log()], **usual)


TASK = SimpleNamespace(lr=0.25)


def at(monkeypatch: pytest.MonkeyPatch, *seconds: float) -> None:
    """Let a clock show these times, one after the other."""
    clock = iter(seconds)
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))


def test_rate_and_mean_loss_are_those_of_this_epoch(monkeypatch):
    at(monkeypatch, 0.0, 99.0, 100.0, 102.0, 104.0, 200.0, 201.0)
    metrics, trainer = StepMetrics(), run(every=100)
    metrics.on_train_start(trainer, TASK)
    metrics.on_train_epoch_start(trainer, TASK)
    results = []
    for images, loss in [(8, 3.0), (2, 1.0)]:
        metrics.on_train_batch_end(trainer, TASK, {"loss": torch.tensor(loss)}, batch(images), 0)
        results.append((metrics.images_per_second, metrics.mean_loss))
    metrics.on_train_epoch_start(trainer, TASK)
    results.append((metrics.images_per_second, metrics.mean_loss))
    metrics.on_train_batch_end(trainer, TASK, None, batch(0), 0)
    results.append((metrics.images_per_second, metrics.mean_loss))
    assert results == [(4.0, 3.0), (2.5, 2.0), (None, None), (0.0, None)]


def test_the_rate_of_two_processes_resumed_within_an_epoch_counts_both_from_their_start(monkeypatch):
    at(monkeypatch, 0.0, 100.0, 102.0)
    metrics, trainer = StepMetrics(), run(world_size=2)
    metrics.on_train_start(trainer, TASK)
    metrics.on_train_batch_end(trainer, TASK, None, batch(8), 5)
    assert metrics.images_per_second == 8.0


def test_validations_within_an_epoch_do_not_count_as_training(monkeypatch):
    at(monkeypatch, 0.0, 100.0, 102.0, 103.0, 113.0, 115.0, 116.0, 126.0)
    metrics, trainer, rates = StepMetrics(), run(every=100), []
    metrics.on_train_start(trainer, TASK)
    for _ in range(2):
        metrics.on_train_batch_end(trainer, TASK, None, batch(6), 0)
        metrics.on_validation_start(trainer, TASK)
        metrics.on_validation_end(trainer, TASK)
        rates.append(metrics.images_per_second)
    assert rates == [3.0, 12 / 5]


def test_the_mean_of_losses_in_half_precision_is_no_sum_in_half_precision():
    metrics, trainer = StepMetrics(), run(every=5000)
    for _ in range(1000):
        metrics.on_train_batch_end(trainer, TASK, {"loss": torch.tensor(2.25, dtype=torch.bfloat16)}, batch(2), 0)
    assert metrics.mean_loss == 2.25


def test_the_first_and_every_so_many_steps_are_logged_once_with_the_loss_of_their_last_batch():
    # Two batches a step, whose losses Lightning halves.
    metrics, trainer = StepMetrics(), run(every=3, accumulate_grad_batches=2, current_epoch=3)
    metrics.on_train_start(trainer, TASK)
    for number in range(1, 15):
        trainer.global_step = number // 2
        metrics.on_train_batch_end(trainer, TASK, {"loss": torch.tensor(number / 2)}, batch(4), number)
    (log,) = trainer.loggers
    told = [(row["step"], row["train_loss"], row["lr"], row["epoch"]) for row in log.rows]
    assert told == [(0, 2.0, 0.25, 3), (2, 6.0, 0.25, 3), (5, 12.0, 0.25, 3)]
    assert metrics.latest_loss == 12.0
    assert all(row["images/s"] > 0 for row in log.rows)


def test_a_step_that_was_logged_before_a_resume_is_not_logged_again():
    metrics, trainer = StepMetrics(), run(step=4, every=2, accumulate_grad_batches=2)
    metrics.on_train_start(trainer, TASK)
    metrics.on_train_batch_end(trainer, TASK, {"loss": torch.tensor(1.0)}, batch(4), 0)
    assert trainer.loggers[0].rows == []


# In one process such a batch has no loss, among several a zero that the others wait for.
@pytest.mark.parametrize("outputs", [None, {"loss": torch.tensor(0.0)}])
def test_a_batch_of_broken_images_has_no_loss_to_log(outputs):
    metrics, trainer = StepMetrics(), run(step=1, world_size=2)
    metrics.on_train_batch_end(trainer, TASK, outputs, batch(1), 0)
    (row,) = trainer.loggers[0].rows
    assert {*row} == {"step", "epoch", "lr", "images/s"}
    assert (metrics.latest_loss, metrics.mean_loss) == (None, None)


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == callbacks.__name__]


def test_skipped_images_are_reported_after_each_epoch(folder, make_data, train, caplog):
    break_picture(folder / "train", number=0)
    break_picture(folder / "train", number=1)
    break_picture(folder / "val")
    data = make_data(on_error="skip")
    with caplog.at_level(logging.WARNING):
        trainer = train(data, limits={"max_epochs": 2}, callbacks=[SkippedImages()])
    assert trainer.global_step == 6
    assert reports(caplog) == [f"epoch {epoch}: 3 broken images were skipped" for epoch in range(2)]


def test_whole_images_are_no_news(make_data, train, caplog):
    with caplog.at_level(logging.WARNING):
        train(make_data(), limits={"max_epochs": 1}, callbacks=[SkippedImages()])
    assert reports(caplog) == []


def test_a_broken_image_ends_the_run_with_its_name(folder, make_data, train):
    path = break_picture(folder / "train")
    with pytest.raises(InputError, match=str(path)):
        train(make_data(), limits={"max_epochs": 1})


def test_batches_of_broken_images_alone_do_not_end_the_run(folder, make_data, train, caplog):
    for colour in COLOURS:
        for number in range(10):
            break_picture(folder / "train", number=number, colour=colour)
    data = make_data(on_error="skip")
    trainer = train(data, limits={"max_epochs": 1}, callbacks=[SkippedImages(), StepMetrics()])
    assert trainer.current_epoch == 1
    assert reports(caplog) == ["epoch 0: 30 broken images were skipped"]
