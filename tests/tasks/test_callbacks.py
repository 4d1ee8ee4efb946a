import logging
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback

from parckit.contract import InputError
from parckit.data import Batch
from parckit.tasks import DivergedError, SaveBest, SkippedImages, StepMetrics, callbacks
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


TASK = SimpleNamespace(lr=0.25, loss_weight=1.0)


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


def skipped_images(max_broken: float) -> SkippedImages:
    return SkippedImages(max_broken=max_broken, source="photos", train_images=30)


def test_skipped_images_are_reported_after_each_epoch(folder, make_data, train, caplog):
    break_picture(folder / "train", number=0)
    break_picture(folder / "train", number=1)
    break_picture(folder / "val")
    data = make_data(on_error="skip")
    with caplog.at_level(logging.WARNING):
        trainer = train(data, limits={"max_epochs": 2}, callbacks=[skipped_images(0.2)])
    assert trainer.global_step == 6
    assert reports(caplog) == [f"epoch {epoch}: 3 broken images were skipped" for epoch in range(2)]


def test_whole_images_are_no_news(make_data, train, caplog):
    with caplog.at_level(logging.WARNING):
        train(make_data(), limits={"max_epochs": 1}, callbacks=[skipped_images(0.2)])
    assert reports(caplog) == []


def test_a_broken_image_ends_the_run_with_its_name(folder, make_data, train):
    path = break_picture(folder / "train")
    with pytest.raises(InputError, match=str(path)):
        train(make_data(), limits={"max_epochs": 1})


def break_pictures(folder: Path, *, count: int) -> None:
    """Break the first pictures of a split; every third one has the same colour."""
    for number in range(count):
        break_picture(folder, number=number // 3, colour=COLOURS[number % 3])


@pytest.mark.parametrize(
    ("split", "broken", "max_broken", "told"),
    [
        ("train", 4, 0.1, "4 of "),
        ("train", 30, 1.0, "30 of 30 training images of epoch 0 are broken"),
        ("val", 1, 0.2, None),
        ("val", 1, 0.1, "1 of 6 validation images of epoch 0 are broken; at most 10 % may be broken"),
        ("val", 6, 1.0, "6 of 6 validation images of epoch 0 are broken"),
    ],
)
def test_too_many_broken_images_end_the_run(split, broken, max_broken, told, folder, make_data, train):
    break_pictures(folder / split, count=broken)
    data, best = make_data(on_error="skip"), SaveBest(folder, monitor="val_loss")
    run = partial(train, data, limits={"max_epochs": 2}, callbacks=[skipped_images(max_broken), best])
    if told is None:
        assert run().global_step == 6
        return
    with pytest.raises(InputError, match=f"^--data photos: {told}"):
        run()
    assert not best.best_model_path, "it would say nothing"


def test_broken_images_are_counted_over_the_starts_of_an_epoch(make_data, train):
    first, second = skipped_images(0.1), skipped_images(0.1)
    for _ in range(3):
        first.on_train_batch_end(run(), TASK, None, batch(9, skipped=1), 0)
    second.load_state_dict(first.state_dict())
    with pytest.raises(InputError, match="4 of 31 training images of epoch 0 are broken"):
        second.on_train_batch_end(run(), TASK, None, batch(0, skipped=1), 0)
    train(make_data(), limits={"max_epochs": 1}, callbacks=[first])  # a new epoch counts from zero


def test_batches_of_broken_images_alone_do_not_end_the_run(folder, make_data, train, caplog):
    break_pictures(folder / "train", count=26)  # of three batches, one has two images or more
    data = make_data(on_error="skip")
    trainer = train(data, limits={"max_epochs": 1}, callbacks=[skipped_images(1.0), StepMetrics()])
    assert trainer.current_epoch == 1
    assert reports(caplog) == ["epoch 0: 26 broken images were skipped"]


class Spoil(Callback):
    """Make the weights NaN after the last step, when no loss can show it."""

    def on_validation_start(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            torch.nn.init.constant_(next(pl_module.model.parameters()), float("nan"))


def test_a_validation_of_spoilt_weights_ends_the_run(make_data, train):
    with pytest.raises(DivergedError, match=r"not finite in the validation after step 3 \(epoch 0\)"):
        train(make_data(), limits={"max_epochs": 1}, callbacks=[Spoil()])
