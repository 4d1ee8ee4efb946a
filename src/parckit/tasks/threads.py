"""How many threads compute in a training on a CPU."""

from typing import final

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.accelerators import CPUAccelerator


@final
class Threads(Callback):
    """Compute with a number of threads in every process of a training on a CPU, and with the former number afterwards.

    Lightning shares the cores among the processes of a machine before, unless OMP_NUM_THREADS is set.

    Args:
        number: of threads.
    """

    def __init__(self, number: int) -> None:
        self._number = number
        self._former: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the number."""
        del pl_module, stage
        if isinstance(trainer.accelerator, CPUAccelerator):
            self._former = torch.get_num_threads()
            torch.set_num_threads(self._number)

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Take the former number again."""
        del trainer, pl_module, stage
        self._restore()

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Take the former number again."""
        del trainer, pl_module, exception
        self._restore()

    def _restore(self) -> None:
        if self._former is not None:
            torch.set_num_threads(self._former)
            self._former = None
