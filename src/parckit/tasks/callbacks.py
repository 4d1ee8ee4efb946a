"""What a run tells about itself while it goes."""

import logging
import time

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from parckit.data import Batch

_log = logging.getLogger(__name__)


class ImagesPerSecond(Callback):
    """Log the training throughput, loading included: this process's, times their number."""

    def __init__(self) -> None:
        self._start = 0.0
        self._images = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count: no epoch is said to start in a run that resumes in the middle of one."""
        self.on_train_epoch_start(trainer, pl_module)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count anew."""
        del trainer, pl_module
        self._start, self._images = time.perf_counter(), 0

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Update the rate, averaged over the epoch so far."""
        del outputs, batch_idx
        self._images += len(batch.targets) * trainer.world_size
        rate = self._images / (time.perf_counter() - self._start)
        pl_module.log("images/s", rate, prog_bar=True, batch_size=max(1, len(batch.targets)))


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
