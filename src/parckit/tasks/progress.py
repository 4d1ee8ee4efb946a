"""What a training prints: its batch size before the first step, then a progress bar or a line per epoch."""

import time
from collections.abc import Callable, Sequence
from datetime import timedelta

from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.utilities import rank_zero_only
from rich import get_console

from parckit.tasks.callbacks import StepMetrics
from parckit.tasks.module import TrainingModule
from parckit.tasks.resumable import Resumable

Tell = Callable[[str], None]
"""Takes a line for the user: print, or a logger."""

_Shown = int | str | float | dict[str, float]


class Announcement(Callback):
    """Print before the first step the images per step, the learning rate, and the checkpoint that the run goes on from.

    Args:
        start: the checkpoint that the run goes on from; None for a new run.
        tell: takes the lines.
    """

    def __init__(self, *, start: Resumable | None, tell: Tell) -> None:
        self._start = start
        self._tell = tell

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print the lines."""
        plan, settings = pl_module.plan, pl_module.settings.optimizer
        height, width = pl_module.spec.preprocessing.size
        size = f" of {height}x{width} pixels" if len(pl_module.sizes) > 1 else ""
        rest = "" if plan.last_batch == plan.effective_batch else f" (the last one of {plan.last_batch} images)"
        scaled = "" if settings.lr_batch is None else f" ({settings.lr:g} x {plan.effective_batch}/{settings.lr_batch})"
        self._tell(
            f"{plan.effective_batch} images{size} per step ({plan.batch_size} x {plan.accumulated} accumulated x"
            f" {plan.processes} processes), {plan.steps_per_epoch} steps per epoch{rest}, highest learning rate"
            f" {pl_module.peak_lr:g}{scaled}"
        )
        if pl_module.settings.freeze is not None:
            trained, total = (
                sum(weight.numel() for weight in pl_module.model.parameters() if weight.requires_grad or counts_all)
                for counts_all in (False, True)
            )
            self._tell(f"frozen: {total - trained:,} of {total:,} weights are not trained")
        for note in pl_module.task.notes:
            self._tell(note)
        if self._start is not None:
            self._tell(f"resumed from {self._start.path}: {trainer.global_step} of {plan.steps} steps are done")


class EpochLines(Callback):
    """Print a line after every epoch, if no progress bar can be drawn, as in the log file of a scheduler.

    Args:
        metrics: has the epoch's loss and throughput.
        monitors: names of the validation results to print.
        tell: takes the lines.
    """

    def __init__(self, metrics: StepMetrics, *, monitors: Sequence[str], tell: Tell) -> None:
        self._metrics = metrics
        self._monitors = monitors
        self._tell = tell
        self._started_at = 0.0
        self._first_step = 0
        self._is_validated = False

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        del pl_module
        self._started_at, self._first_step = time.perf_counter(), trainer.global_step

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note that this epoch has validation results."""
        del pl_module
        self._is_validated = not trainer.sanity_checking

    @rank_zero_only
    def on_train_epoch_end(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Print the epoch's metrics, the time since the start and the time that is left.

        A run that goes on from the last validation of an epoch ends this epoch once more. Then nothing is printed.
        """
        loss, rate = self._metrics.mean_loss, self._metrics.images_per_second
        is_validated, self._is_validated = self._is_validated, False
        if rate is None:
            return
        seconds = time.perf_counter() - self._started_at
        step, steps = trainer.global_step, pl_module.plan.steps
        left = seconds * (steps - step) / max(1, step - self._first_step)
        validated = trainer.callback_metrics if is_validated else {}
        shown = {
            **({} if loss is None else {"train_loss": loss}),
            **{name: validated[name] for name in self._monitors if name in validated},
            "images/s": rate,
        }
        values = ", ".join(f"{name} {value:.4g}" for name, value in shown.items())
        where = f"epoch {trainer.current_epoch + 1}, step {step} of {steps}"
        self._tell(f"{where}: {values}; {_clock(seconds)} gone, about {_clock(left)} left")


class TrainingBar(RichProgressBar):
    """A progress bar that shows the last logged loss, so that it never waits for a loss.

    Args:
        metrics: has the loss and the throughput.
    """

    def __init__(self, metrics: StepMetrics) -> None:
        super().__init__()
        self._metrics = metrics

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, _Shown]:
        """Return the values to the right of the bar."""
        measured = {"train_loss": self._metrics.latest_loss, "images/s": self._metrics.images_per_second}
        known = {name: value for name, value in measured.items() if value is not None}
        return {**super().get_metrics(trainer, pl_module), **known}


def progress_display(metrics: StepMetrics, *, monitors: Sequence[str], tell: Tell) -> Callback:
    """Return a progress bar for a terminal or notebook, otherwise a callback that prints a line per epoch."""
    console = get_console()
    if console.is_terminal or console.is_jupyter:
        return TrainingBar(metrics)
    return EpochLines(metrics, monitors=monitors, tell=tell)


def _clock(seconds: float) -> str:
    return str(timedelta(seconds=round(seconds)))
