"""What a run tells about itself while it goes."""

import logging
import time
from collections.abc import Mapping
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from parckit.data import Batch
from parckit.tasks.classify import ClassifyTask

_log = logging.getLogger(__name__)


class StepMetrics(Callback):
    """Log loss, learning rate and throughput of every `log_every_n_steps`-th step.

    It gives them to the loggers itself: `LightningModule.log` takes a third of a millisecond for every number, in every
    step.

    Attributes:
        latest: what was logged last, by name.
    """

    def __init__(self) -> None:
        self.latest: dict[str, float] = {}
        self._told_step = 0
        self._begin()

    def _begin(self) -> None:
        self._start = self._end = time.perf_counter()
        self._images = self._batches = 0
        self._losses: Tensor | float = 0.0

    @property
    def images_per_second(self) -> float:
        """Training throughput of the epoch so far, loading included: this process's, times their number."""
        return self._images / max(1e-9, self._end - self._start)

    @property
    def mean_loss(self) -> float | None:
        """Mean loss of the epoch's batches so far, in this process; None where broken images left no whole batch."""
        return float(self._losses) / self._batches if self._batches else None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count: no epoch is said to start in a run that resumes in the middle of one."""
        self._told_step = trainer.global_step
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count anew."""
        del trainer, pl_module
        self._begin()

    def on_train_batch_end(  # pyright: ignore[reportIncompatibleMethodOverride] - of our task, whose learning rate it is
        self, trainer: Trainer, pl_module: ClassifyTask, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count, without waiting for the loss, and log if a step to be logged is done."""
        del batch_idx
        self._end = time.perf_counter()
        self._images += len(batch.targets) * trainer.world_size
        loss = cast("Mapping[str, Tensor]", outputs or {}).get("loss")
        if loss is not None:  # which Lightning has divided
            loss = loss * trainer.accumulate_grad_batches
            self._losses, self._batches = self._losses + loss, self._batches + 1
        step = trainer.global_step
        every = cast("int", trainer.log_every_n_steps)  # pyright: ignore[reportAttributeAccessIssue] - set elsewhere
        if step == self._told_step or step % every:
            return
        self._told_step = step
        losses = {} if loss is None else {"train_loss": float(loss)}
        self.latest = {**losses, "lr": pl_module.lr, "images/s": self.images_per_second}
        for logger in trainer.loggers:
            logger.log_metrics({**self.latest, "epoch": trainer.current_epoch}, step=step - 1)  # as Lightning counts
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
        own = torch.tensor(self._skipped, device=pl_module.device)
        skipped = int(trainer.strategy.reduce(own, reduce_op="sum"))
        if skipped and trainer.is_global_zero:
            _log.warning("epoch %d: %d broken images were skipped", trainer.current_epoch, skipped)
        self._skipped = 0
