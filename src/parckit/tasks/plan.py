"""What a run knows of its data, sizes and steps: computed once, before it starts, and handed to all who need it."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

from lightning.pytorch import Trainer

from parckit.contract import InputError


@dataclass(frozen=True, kw_only=True, slots=True)
class Position:
    """How far a training has come.

    Attributes:
        epochs: epochs that have all their batches behind them.
        batches: batches of the next epoch that are done; 0 between two epochs.
    """

    epochs: int = 0
    batches: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """The size of a run.

    Attributes:
        batch_size: images of a batch in one process.
        accumulated: batches of one optimizer step.
        process: number of this process, from 0.
        processes: how many there are.
        steps: optimizer steps in all.
        steps_per_epoch: optimizer steps of an epoch.
        epochs: epochs that are begun; the last one may stay unfinished.
        start: where the run begins.
    """

    batch_size: int
    accumulated: int = 1
    process: int = 0
    processes: int = 1
    steps: int = 1
    steps_per_epoch: int = 1
    epochs: int = 1
    start: Position = Position()

    @property
    def effective_batch(self) -> int:
        """Images of one optimizer step: of all processes and all accumulated batches."""
        return self.batch_size * self.processes * self.accumulated

    @property
    def length_in_epochs(self) -> float:
        """Length of the run in epochs; not a whole number if the last one stays unfinished."""
        return self.steps / self.steps_per_epoch


def plan_run(trainer: Trainer, *, batch_size: int, batches: int, start: Position) -> RunPlan:
    """Compute the size of a run from the trainer's limits.

    Args:
        trainer: knows the limits and the processes.
        batch_size: images of a batch in one process.
        batches: batches of a whole epoch in one process.
        start: where the run begins.

    Raises:
        InputError: if the run has no end.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    steps_per_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    # Lightning writes -1 where there is no limit, and None where only the other limit is given.
    max_epochs, max_steps = trainer.max_epochs, trainer.max_steps
    limits = [steps_per_epoch * max_epochs] if max_epochs is not None and max_epochs >= 0 else []
    limits += [max_steps] if max_steps >= 0 else []
    if not limits or min(limits) == 0:
        raise InputError(
            "--trainer.max_steps, --trainer.max_epochs: the schedule needs a run that has steps and an end"
        )
    return RunPlan(
        batch_size=batch_size,
        accumulated=trainer.accumulate_grad_batches,
        process=trainer.global_rank,
        processes=trainer.world_size,
        steps=min(limits),
        steps_per_epoch=steps_per_epoch,
        epochs=math.ceil(min(limits) / steps_per_epoch),
        start=start,
    )


def position_of(loops: Mapping[str, object]) -> Position:
    """Return how far a checkpoint has come.

    Args:
        loops: Lightning's state of its loops, as a checkpoint holds it.
    """
    fit = cast("Mapping[str, Mapping[str, Mapping[str, int]]]", loops["fit_loop"])
    epochs, batches = fit["epoch_progress"]["current"], fit["epoch_loop.batch_progress"]["current"]
    is_within = epochs["ready"] > epochs["processed"]
    return Position(epochs=epochs["processed"], batches=batches["ready"] if is_within else 0)
