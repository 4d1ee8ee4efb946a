"""Detectors and segmenters resume as classifiers do: a killed training ends with the weights of an undisturbed one."""

import signal
from pathlib import Path

import pytest
import torch

from parckit.cli.main import main
from training_moments import Moment, train_until
from training_processes import ends, fork
from training_state import assert_same, state_of

BOXES = (
    "--config=detect/digit_scenes_tinydet",
    "--task.augment={crop: iou, scale: [0.5, 2.0], zoom_out: 0.5, colour: 0.5, flip: 0.5}",
)
PIXELS = (
    "--config=segment/digit_scenes_upernet",
    "--task.augment={scale: [0.5, 2.0], most_of_a_class: 0.75, colour: 0.5, flip: 0.5, flip_vertical: 0.5}",
    "--task.class_weights=balanced",
    "--task.label_smoothing=0.1",
)
RCNN = "{width: 8, hidden: 16, mask_width: 8, anchors: [8, 16, 32, 64, 128], proposals: 20, samples: 8}"
AUXILIARY = "{width: 8, auxiliary: true, drop_rate: 0.5}"
# The heads that draw most: samples of proposals, and dropout.
HEADS = {"mask_rcnn": (RCNN, BOXES), "upernet": (AUXILIARY, PIXELS)}
# An epoch has four steps, so the kill after six lies in the second.
OPTIONS = (
    "--model.name=test_resnet",
    "--model.kwargs={}",
    "--data.source=digit_scenes:8",
    "--data.preprocessing.size=[64, 64]",
    "--data.batch_size=2",
    "--trainer.max_epochs=2",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.enable_progress_bar=false",
    "--save_minutes=1e-6",
    "--resume=auto",
)


@pytest.mark.parametrize("head", HEADS)
def test_a_killed_training_ends_with_the_weights_of_an_undisturbed_one(head: str, tmp_path: Path):
    head_kwargs, recipe = HEADS[head]
    options = [*recipe, *OPTIONS, f"--model.head={head}", f"--model.head_kwargs={head_kwargs}"]
    main(["train", *options, f"--out={tmp_path / 'whole'}"])
    killed = [*options, f"--out={tmp_path / 'killed'}"]
    process = fork(train_until, Moment(action="step", count=6), [*killed, "--data.workers=1"])
    assert ends(process) == -signal.SIGKILL
    assert torch.load(tmp_path / "killed" / "last.ckpt", weights_only=True)["global_step"] == 5
    main(["train", *killed])
    for name in ("last.ckpt", "best.ckpt"):
        assert_same(state_of(tmp_path / "whole" / name), state_of(tmp_path / "killed" / name))
