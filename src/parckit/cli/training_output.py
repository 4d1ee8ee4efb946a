"""What a training prints: what its first step will be, and after each epoch how it went where no bar can be drawn."""

import math
import time
from collections.abc import Mapping
from datetime import timedelta
from typing import cast

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich import get_console
from torch import Tensor

from parckit.data import Batch
from parckit.tasks import ClassifyData, ClassifyTask, Resumable


class Announcement(Callback):
    """Say before the first step what follows from batch size, processes and accumulation, and where the run goes on.

    Args:
        data: whose batches are counted.
        start: the checkpoint that the run goes on from.
    """

    def __init__(self, data: ClassifyData, *, start: Resumable | None) -> None:
        self._data = data
        self._start = start

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: ClassifyTask) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print."""
        accumulated, processes = trainer.accumulate_grad_batches, trainer.world_size
        batches = trainer.num_training_batches
        steps = "unknown" if math.isinf(batches) else math.ceil(batches / accumulated)
        height, width = self._data.preprocessing.size
        size = f" of {height}x{width} pixels" if len(self._data.training_sizes) > 1 else ""
        lr = pl_module.optimizer_settings
        scaled = "" if lr.lr_batch is None else f" ({lr.lr:g} x {pl_module.effective_batch}/{lr.lr_batch})"
        print(
            f"{pl_module.effective_batch} images{size} per step ({self._data.batch_size} x {accumulated} accumulated x"
            f" {processes} processes), {steps} steps per epoch, highest learning rate {pl_module.peak_lr:g}{scaled}",
            flush=True,
        )
        if self._start is not None:
            steps = f"{trainer.global_step} of {trainer.estimated_stepping_batches}"
            print(f"resumed from {self._start.path}: {steps} steps are done", flush=True)


class EpochLines(Callback):
    """Print a line after every epoch, for where no progress bar can be drawn, as in the log file of a batch system.

    Its training loss is the mean over the epoch's batches, in one process its own.
    """

    def __init__(self) -> None:
        self._started_at = 0.0
        self._first_step = 0
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        self._batches = 0
        self._loss: Tensor | float = 0.0
        self._is_validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the time."""
        del pl_module
        self._started_at, self._first_step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Add up the loss, without waiting for it."""
        del pl_module, batch, batch_idx
        loss = cast("Mapping[str, Tensor]", outputs or {}).get("loss")
        if loss is not None:
            self._batches += 1
            self._loss = self._loss + loss * trainer.accumulate_grad_batches  # Lightning has divided it

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has metrics of its own."""
        del pl_module
        self._is_validated = not trainer.sanity_checking

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics, the time since the start and the time that is left."""
        del pl_module
        seconds = time.perf_counter() - self._started_at
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        left = seconds * (steps - step) / max(1, step - self._first_step)
        metrics = trainer.callback_metrics
        shown = {"train_loss": self._loss / self._batches} if self._batches else {}
        names = (*(("val_loss", "val_top1") if self._is_validated else ()), "images/s")
        shown |= {name: metrics[name] for name in names if name in metrics}
        values = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        where = f"epoch {trainer.current_epoch + 1}, step {step} of {steps}"
        # At once: a file's lines would otherwise wait for thousands of others.
        print(f"{where}: {values}; {_clock(seconds)} gone, about {_clock(left)} left", flush=True)
        self._begin_epoch()


def progress_display() -> Callback:
    """Return a progress bar where one can be drawn, else a line per epoch."""
    console = get_console()
    return RichProgressBar() if console.is_terminal or console.is_jupyter else EpochLines()


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
