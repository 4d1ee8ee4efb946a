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
    run.callback_metrics = {"images/s": torch.tensor(12.0)}
    lines = EpochLines()
    lines.on_train_start(run, None)
    run.global_step = 500
    lines.on_train_epoch_end(run, None)
    told = "epoch 4, step 500 of 900: images/s 12; 0:01:00 gone, about 0:02:00 left\n"
    assert capsys.readouterr().out == told


def test_a_line_tells_of_its_own_epoch_alone(capsys):
    run = SimpleNamespace(global_step=0, estimated_stepping_batches=4, current_epoch=0, accumulate_grad_batches=2)
    run.callback_metrics = {
        "val_loss": torch.tensor(2.5),
        "val_top1": torch.tensor(50.0),
        "images/s": torch.tensor(12.0),
    }
    lines = EpochLines()
    lines.on_train_start(run, None)
    for epoch, losses in enumerate([(4.0, 2.0), (1.0, None)]):
        for loss in losses:  # halved, for two batches are accumulated; none where all images were broken
            outputs = None if loss is None else {"loss": torch.tensor(loss / 2)}
            lines.on_train_batch_end(run, None, outputs, None, 0)
        run.sanity_checking = epoch == 1
        lines.on_validation_end(run, None)
        lines.on_train_epoch_end(run, None)
    first, second = (line.partition(": ")[2].partition(";")[0] for line in capsys.readouterr().out.splitlines())
    assert first == "train_loss 3, val_loss 2.5, val_top1 50, images/s 12"
    assert second == "train_loss 1, images/s 12"
