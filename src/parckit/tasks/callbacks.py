"""What a run logs and reports while it trains."""

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
    """Count an epoch's images and losses; log loss, learning rate and throughput of some steps.

    The first step of the run and every `log_every_n_steps`-th step are logged. The logged loss is the loss of the
    step's last batch in the first process. The numbers go to the loggers directly, because `LightningModule.log` takes
    a third of a millisecond per number and step. A run that resumes inside an epoch counts from there on.

    Attributes:
        latest_loss: the loss that was logged last; None before the first one.
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
        """Throughput of the epoch so far, with loading: this process's throughput times the number of processes.

        None before the first batch.
        """
        return self._images / (self._end - self._start) if self._batches else None

    @property
    def mean_loss(self) -> float | None:
        """Mean loss of the epoch's batches so far in this process; None if no batch had enough images."""
        return float(self._loss_sum) / self._losses if self._losses else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count. Lightning reports no start of the epoch if a run resumes inside it."""
        self._told_step = trainer.global_step
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count from zero."""
        del trainer, pl_module
        self._begin()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the clock. An epoch may be validated several times."""
        del trainer, pl_module
        self._paused = time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Continue the clock."""
        del trainer, pl_module
        pause = time.perf_counter() - self._paused
        self._start, self._end = self._start + pause, self._end + pause

    def on_train_batch_end(  # pyright: ignore[reportIncompatibleMethodOverride] - only our module knows its learning rate
        self, trainer: Trainer, pl_module: TrainingModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count the batch; log if it is the last one of a step that is logged. Counting does not wait for the loss."""
        del batch_idx
        # Count. A batch that is too small for training has a loss of zero, which does not count.
        self._end = time.perf_counter()
        self._batches += 1
        self._images += len(batch.targets) * trainer.world_size
        loss = cast("Mapping[str, Tensor]", outputs or {}).get("loss")
        if loss is not None and len(batch.targets) < MIN_BATCH:
            loss = None
        if loss is not None:
            # Lightning has divided the loss by the number of accumulated batches.
            loss = loss.float() * trainer.accumulate_grad_batches
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
    """Warn after an epoch if broken images were left out in training or validation, and say how many."""

    def __init__(self) -> None:
        self._skipped = 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count the images that were left out of a training batch."""
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
        """Count the images that were left out of a validation batch, except for Lightning's trial batches."""
        del pl_module, outputs, batch_idx, dataloader_idx
        self._skipped += 0 if trainer.sanity_checking else batch.skipped

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report the number over all processes, and begin again from zero."""
        in_this_process = torch.tensor(self._skipped, device=pl_module.device)
        skipped = int(trainer.strategy.reduce(in_this_process, reduce_op="sum"))
        if skipped and trainer.is_global_zero:
            _log.warning("epoch %d: %d broken images were skipped", trainer.current_epoch, skipped)
        self._skipped = 0
