"""What a run tells about itself while it goes."""

import logging
import time
from collections.abc import Mapping
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from parckit.data import Batch
from parckit.tasks.module import MIN_BATCH, TrainingModule

_log = logging.getLogger(__name__)


class StepMetrics(Callback):
    """Count an epoch's images and losses; log loss, learning rate and throughput of some of its steps.

    These are a run's first step and every `log_every_n_steps`-th; the loss is that of a step's last batch, in the first
    process. They go to the loggers directly: `LightningModule.log` takes a third of a millisecond for every number, in
    every step. A run that resumes within an epoch counts from there.

    Attributes:
        latest_loss: what was logged last; None before.
    """

    def __init__(self) -> None:
        self.latest_loss: float | None = None
        self._told_step = 0
        self._begin()

    def _begin(self) -> None:
        self._start = self._end = self._paused = time.perf_counter()
        self._images = self._losses = self._batches = 0
        self._loss_sum: Tensor | float = 0.0

    @property
    def images_per_second(self) -> float | None:
        """Throughput of the epoch's training so far, loading included: this process's, times their number.

        None before the first batch.
        """
        return self._images / (self._end - self._start) if self._batches else None

    @property
    def mean_loss(self) -> float | None:
        """Mean loss of the epoch's batches so far, in this process; None where broken images left no whole batch."""
        return float(self._loss_sum) / self._losses if self._losses else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count: no epoch is said to start in a run that resumes in the middle of one."""
        self._told_step = trainer.global_step
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count anew."""
        del trainer, pl_module
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock: an epoch may be validated several times."""
        del trainer, pl_module
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let the clock go on."""
        del trainer, pl_module
        pause = time.perf_counter() - self._paused
        self._start, self._end = self._start + pause, self._end + pause

    def on_train_batch_end(  # pyright: ignore[reportIncompatibleMethodOverride] - only our module knows its learning rate
        self, trainer: Trainer, pl_module: TrainingModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch, and log if it ended a step that is to be logged. Nothing here waits for the loss."""
        del batch_idx
        # Count. A batch that is too small has a loss of zero, which is no loss.
        self._end = time.perf_counter()
        self._batches += 1
        self._images += len(batch.targets) * trainer.world_size
        loss = cast("Mapping[str, Tensor]", outputs or {}).get("loss")
        if loss is not None and len(batch.targets) < MIN_BATCH:
            loss = None
        if loss is not None:
            loss = loss.float() * trainer.accumulate_grad_batches  # Lightning has divided it
            self._loss_sum, self._losses = self._loss_sum + loss, self._losses + 1
        # Log the first step and every N-th one.
        step = trainer.global_step
        interval = cast("int", trainer.log_every_n_steps)  # pyright: ignore[reportAttributeAccessIssue] - set elsewhere
        if step == self._told_step or not interval or (step > 1 and step % interval):
            return
        self._told_step = step
        metrics = {"lr": pl_module.lr, "images/s": self.images_per_second or 0.0, "epoch": trainer.current_epoch}
        if loss is not None:
            self.latest_loss = metrics["train_loss"] = float(loss)
        for logger in trainer.loggers:
            logger.log_metrics(metrics, step=step - 1)  # Lightning counts steps from 0
            logger.save()


class SkippedImages(Callback):
    """Say after each epoch how many broken images training and validation left out."""

    def __init__(self) -> None:
        self._skipped = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count."""
        del trainer, pl_module, outputs, batch_idx
        self._skipped += batch.skipped

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count, but for the trial batches before the first epoch."""
        del pl_module, outputs, batch_idx, dataloader_idx
        self._skipped += 0 if trainer.sanity_checking else batch.skipped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report those of all processes and begin anew."""
        in_this_process = torch.tensor(self._skipped, device=pl_module.device)
        skipped = int(trainer.strategy.reduce(in_this_process, reduce_op="sum"))
        if skipped and trainer.is_global_zero:
            _log.warning("epoch %d: %d broken images were skipped", trainer.current_epoch, skipped)
        self._skipped = 0
