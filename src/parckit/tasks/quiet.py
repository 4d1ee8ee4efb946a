"""Hide the messages of correct runs."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager

_WATCH = "lightning.fabric.strategies.launchers.subprocess_script"
"""Logger of Lightning that reports a process that has died; the other processes, which wait for it, are then killed."""


@contextmanager
def quiet_lightning() -> Generator[None]:
    """Hide Lightning's advertisements and the warnings that a correct run causes."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger(_WATCH).setLevel(logging.INFO)
    # It warns that it makes an experiment that is not there yet.
    logging.getLogger("lightning.pytorch.loggers.mlflow").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        for message in (
            r"Checkpoint directory .* exists and is not empty",  # it holds config.yaml, or the run that goes on
            r"The dirpath has changed from .*",  # a run that goes on in another folder writes a new best.ckpt
            r"Be aware that when using `ckpt_path`, callbacks used",  # a run may go on without patience
            r"You're resuming from a checkpoint that ended before the epoch ended",  # our batches go on from there
            r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on a newer torch
            r"`training_step` returned `None`",  # all images of the batch were broken; callbacks count them
            r"The number of training batches .* is smaller than the logging interval",  # a small data set is no mistake
            r"Grad strides do not match bucket view strides",  # from DDP; (1, C, 1, 1) is contiguous in both layouts
            r"It is recommended to use `self.log\('val_\w+', ..., sync_dist=True\)`",  # the metric has gathered it
            r"The '\w+' does not have many workers",  # the recipe decides the number
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
