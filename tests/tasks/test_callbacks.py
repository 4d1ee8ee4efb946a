import logging
from types import SimpleNamespace

import pytest
import torch

from parckit.contract import InputError
from parckit.data import Batch
from parckit.tasks import ImagesPerSecond, SkippedImages, callbacks
from pictures import COLOURS, break_picture


def batch(images: int, *, skipped: int = 0) -> Batch:
    targets = torch.zeros(images, dtype=torch.int64)
    return Batch(images=torch.zeros(images, 3, 1, 1), targets=targets, skipped=skipped)


ALONE = SimpleNamespace(world_size=1)


def test_the_rate_is_images_over_seconds_of_this_epoch(monkeypatch):
    clock = iter([0.0, 100.0, 102.0, 104.0, 200.0, 201.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    logged = []
    task = SimpleNamespace(log=lambda name, rate, **_: logged.append((name, rate)))
    counter = ImagesPerSecond()
    counter.on_train_start(None, task)
    counter.on_train_epoch_start(None, task)
    counter.on_train_batch_end(ALONE, task, None, batch(8), 0)
    counter.on_train_batch_end(ALONE, task, None, batch(2), 1)
    counter.on_train_epoch_start(None, task)
    counter.on_train_batch_end(ALONE, task, None, batch(0), 0)
    assert logged == [("images/s", 4.0), ("images/s", 2.5), ("images/s", 0.0)]


def test_the_rate_of_two_processes_resumed_within_an_epoch_counts_both_from_their_start(monkeypatch):
    clock = iter([100.0, 102.0])
    monkeypatch.setattr(callbacks, "time", SimpleNamespace(perf_counter=lambda: next(clock)))
    logged = []
    counter = ImagesPerSecond()
    counter.on_train_start(None, None)
    task = SimpleNamespace(log=lambda *args, **_: logged.append(args))
    counter.on_train_batch_end(SimpleNamespace(world_size=2), task, None, batch(8), 5)
    assert logged == [("images/s", 8.0)]


def test_a_run_logs_its_rate(make_data, make_task, fit):
    data = make_data()
    trainer = fit(make_task(data), data, epochs=1, callbacks=[ImagesPerSecond()])
    assert trainer.callback_metrics["images/s"] > 0


def reports(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == callbacks.__name__]


def test_skipped_images_are_reported_after_each_epoch(folder, make_data, make_task, fit, caplog):
    break_picture(folder / "train", number=0)
    break_picture(folder / "train", number=1)
    break_picture(folder / "val")
    data = make_data(on_error="skip")
    with caplog.at_level(logging.WARNING):
        trainer = fit(make_task(data), data, epochs=2, callbacks=[SkippedImages()])
    assert trainer.global_step == 6
    assert reports(caplog) == [f"epoch {epoch}: 3 broken images were skipped" for epoch in range(2)]


def test_whole_images_are_no_news(make_data, make_task, fit, caplog):
    data = make_data()
    with caplog.at_level(logging.WARNING):
        fit(make_task(data), data, epochs=1, callbacks=[SkippedImages()])
    assert reports(caplog) == []


def test_a_broken_image_ends_the_run_with_its_name(folder, make_data, make_task, fit):
    path = break_picture(folder / "train")
    data = make_data()
    with pytest.raises(InputError, match=str(path)):
        fit(make_task(data), data, epochs=1)


def test_batches_of_broken_images_alone_do_not_end_the_run(folder, make_data, make_task, fit, caplog):
    for colour in COLOURS:
        for number in range(10):
            break_picture(folder / "train", number=number, colour=colour)
    data = make_data(on_error="skip")
    trainer = fit(make_task(data), data, epochs=1, callbacks=[SkippedImages(), ImagesPerSecond()])
    assert trainer.current_epoch == 1
    assert reports(caplog) == ["epoch 0: 30 broken images were skipped"]
