"""Silence about what is as it should be."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_WATCH = "lightning.fabric.strategies.launchers.subprocess_script"
# Says that a process has died, before it kills the others where they wait for that one.


@contextmanager
def quiet_lightning() -> Generator[None]:
    """Keep Lightning's advertisements and the warnings that a correct run raises off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(_WATCH).setLevel(logging.INFO)
    with warnings.catch_warnings():
        for message in (
            r"Checkpoint directory .* exists and is not empty",  # it holds config.yaml, or the run to resume
            r"The dirpath has changed from .*",  # a run resumed into another folder begins its own best.ckpt
            r"Be aware that when using `ckpt_path`, callbacks used",  # a run may go on without patience
            r"You're resuming from a checkpoint that ended before the epoch ended",  # our batches go on where it ended
            r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on a newer torch
            r"`training_step` returned `None`",  # all images of the batch were broken; they are counted
            r"The number of training batches .* is smaller than the logging interval",  # small data are no fault
            r"Grad strides do not match bucket view strides",  # DDP's; (1, C, 1, 1) is in both layouts
            r"It is recommended to use `self.log\('val_\w+', ..., sync_dist=True\)`",  # the metric has gathered it
            r"The '\w+' does not have many workers",  # the recipe says how many
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
