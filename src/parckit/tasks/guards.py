"""Stop a run whose loss is not a finite number."""

from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from parckit.data import Batch
from parckit.tasks.checkpoints import AtomicCheckpointIO
from parckit.tasks.errors import DivergedError


@final
class StopOnNaN(Callback):
    """Stop if the loss is not finite, before it changes the weights, and save the batch and the weights.

    `torch.load` reads the file `nan-stepN.ckpt`. It also holds `batch` (images, targets), `epoch`,
    `batch_idx` and `global_step`.

    Args:
        folder: folder of the file.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._batch = Batch(torch.empty(0), torch.empty(0), 0)
        self._batch_idx = 0

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Remember the batch."""
        del trainer, pl_module
        self._batch, self._batch_idx = batch, batch_idx

    def on_before_backward(self, trainer: Trainer, pl_module: LightningModule, loss: Tensor) -> None:
        """Check the loss.

        Raises:
            DivergedError: if it is not finite.
        """
        if torch.isfinite(loss):
            return
        path = self._folder / f"nan-step{trainer.global_step}.ckpt"
        AtomicCheckpointIO().save_checkpoint(self._evidence(trainer, pl_module), path)
        where = f"step {trainer.global_step} (epoch {trainer.current_epoch}, batch {self._batch_idx})"
        raise DivergedError(
            f"the loss is {loss.item()} at {where}; {path} holds the batch and the weights before it; look for broken"
            " images, or lower --model.optimizer.lr"
        )

    def _evidence(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, object]:
        content: dict[str, object] = {
            "state_dict": pl_module.state_dict(),
            "batch": {"images": self._batch.images, "targets": self._batch.targets},
            "epoch": trainer.current_epoch,
            "batch_idx": self._batch_idx,
            "global_step": trainer.global_step,
        }
        pl_module.on_save_checkpoint(content)
        return content


@contextmanager
def anomalies_named(trainer: Trainer) -> Generator[None]:
    """Turn what `--trainer.detect_anomaly` finds into one line.

    Raises:
        DivergedError: if torch found a gradient that is NaN.
    """
    try:
        yield
    except RuntimeError as error:
        if "returned nan values" not in str(error):
            raise
        raise DivergedError(f"--trainer.detect_anomaly: {error} The step is {trainer.global_step}.") from error
