"""What a training prints: what its first step will be, and after each epoch how it went where no bar can be drawn."""

import math
import time
from datetime import timedelta

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich import get_console

from parckit.tasks import ClassifyData, ClassifyTask, Resumable, StepMetrics

_Shown = int | str | float | dict[str, float]


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
        steps = math.ceil(trainer.num_training_batches / accumulated)
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

    Args:
        metrics: the epoch's loss and images.
    """

    def __init__(self, metrics: StepMetrics) -> None:
        self._metrics = metrics
        self._started_at = 0.0
        self._first_step = 0
        self._is_validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the time."""
        del pl_module
        self._started_at, self._first_step = time.perf_counter(), trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has metrics of its own."""
        del pl_module
        self._is_validated = not trainer.sanity_checking

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Print the epoch's metrics, the time since the start and the time that is left.

        A run that goes on from an epoch's last validation ends that epoch once more, which is no news.
        """
        del pl_module
        loss, rate = self._metrics.mean_loss, self._metrics.images_per_second
        is_validated, self._is_validated = self._is_validated, False
        if rate is None:
            return
        seconds = time.perf_counter() - self._started_at
        step, steps = trainer.global_step, trainer.estimated_stepping_batches
        left = seconds * (steps - step) / max(1, step - self._first_step)
        validated = trainer.callback_metrics if is_validated else {}
        shown = {
            **({} if loss is None else {"train_loss": loss}),
            **{name: validated[name] for name in ("val_loss", "val_top1") if name in validated},
            "images/s": rate,
        }
        values = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        where = f"epoch {trainer.current_epoch + 1}, step {step} of {steps}"
        # At once: a file's lines would otherwise wait for thousands of others.
        print(f"{where}: {values}; {_clock(seconds)} gone, about {_clock(left)} left", flush=True)


class TrainingBar(RichProgressBar):
    """A progress bar that shows the loss logged last, without waiting for those of other steps.

    Args:
        metrics: that log it.
    """

    def __init__(self, metrics: StepMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, _Shown]:
        """Return what stands behind the bar."""
        own = {"train_loss": self._metrics.latest_loss, "images/s": self._metrics.images_per_second}
        known = {name: value for name, value in own.items() if value is not None}
        return {**super().get_metrics(trainer, pl_module), **known}


def progress_display(metrics: StepMetrics) -> Callback:
    """Return a progress bar where one can be drawn, else a line per epoch."""
    console = get_console()
    return TrainingBar(metrics) if console.is_terminal or console.is_jupyter else EpochLines(metrics)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
