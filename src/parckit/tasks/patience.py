"""Ending a run that no longer improves."""

from typing import final

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import EarlyStopping
from lightning.pytorch.utilities import rank_zero_only

from parckit.tasks.progress import Tell


@final
class Patience(EarlyStopping):
    """Lightning's early stopping, but it ends a run between two epochs, and remembers that the run has ended.

    A run that goes on from a stopped one ends at once, unless it has more patience. With Lightning's own class it would
    train another epoch, with the former patience. A run that may not end yet (`min_epochs`, `min_steps`) ends only if
    patience is still over when it may.

    Args:
        patience: number of validations in a row without improvement after which the run ends.
        monitor: name of the validation result.
        mode: `"max"` if larger is better, `"min"` if smaller is better.
        tell: takes the line that says why the run ends.
    """

    def __init__(self, patience: int, *, monitor: str, mode: str, tell: Tell) -> None:
        # A value that is not finite is no improvement. Lightning would end the run as if all were well.
        super().__init__(
            monitor, patience=patience, mode=mode, strict=False, check_finite=False, check_on_train_epoch_end=False
        )
        self._tell = tell

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Go on counting, with the patience of this run."""
        super().load_state_dict({**state_dict, "patience": self.patience})

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End a run that goes on from a stopped one."""
        del pl_module
        self._end_if_over(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Count, but do not end the run inside its epoch: the rest of the epoch would be lost to a run that goes on."""
        should_stop = trainer.should_stop
        super().on_validation_end(trainer, pl_module)
        trainer.should_stop = should_stop

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """End the run if patience is over."""
        del pl_module
        self._end_if_over(trainer)

    def _end_if_over(self, trainer: Trainer) -> None:
        may_end = trainer.fit_loop._can_stop_early  # pyright: ignore[reportPrivateUsage]
        trainer.should_stop = may_end and self.wait_count >= self.patience
        if trainer.should_stop:
            best = f"{self.monitor} has not become better than {self.best_score:.4g}"
            rank_zero_only(self._tell)(f"ended: {best} in {self.wait_count} validations (--patience {self.patience})")
