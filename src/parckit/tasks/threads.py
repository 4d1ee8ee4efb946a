"""The number of threads in a training on a CPU."""

from typing import final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator


@final
class Threads(Callback):
    """Set the number of threads in every process of a training on a CPU, and restore the old number afterwards.

    Before that, Lightning divides the cores among the processes of a machine, unless OMP_NUM_THREADS is set.

    Args:
        number: number of threads per process.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._former: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Set the number."""
        del pl_module, stage
        if isinstance(trainer.accelerator, CPUAccelerator):
            self._former = torch.get_num_threads()
            torch.set_num_threads(self._number)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Restore the old number."""
        del trainer, pl_module, stage
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Restore the old number."""
        del trainer, pl_module, exception
        self._restore()

    def _restore(self) -> None:
        if self._former is not None:
            torch.set_num_threads(self._former)
            self._former = None
