"""The size of a run: its batches, steps and epochs. It is computed once, before the run starts."""

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
        epochs: number of epochs whose batches are all done.
        batches: number of batches of the next epoch that are done; 0 between two epochs.
    """

    epochs: int = 0
    batches: int = 0


@dataclass(frozen=True, kw_only=True, slots=True)
class RunPlan:
    """The size of a run.

    Attributes:
        batch_size: number of images of a batch in one process.
        batches: number of batches of an epoch in one process.
        accumulated: number of batches per optimizer step; the last step of an epoch may have fewer.
        process: index of this process, from 0.
        processes: number of processes.
        steps: number of optimizer steps of the run.
        steps_per_epoch: number of optimizer steps of an epoch.
        epochs: number of epochs, with the last one even if it is not complete.
        start: where the run begins.
    """

    batch_size: int
    batches: int = 1
    accumulated: int = 1
    process: int = 0
    processes: int = 1
    steps: int = 1
    steps_per_epoch: int = 1
    epochs: int = 1
    start: Position = Position()

    @property
    def effective_batch(self) -> int:
        """Number of images per optimizer step, over all processes and all accumulated batches."""
        return self.batch_size * self.processes * self.accumulated

    @property
    def last_batch(self) -> int:
        """Number of images of the last optimizer step of an epoch, over all processes and accumulated batches."""
        return self.batch_size * self.processes * (self.batches % self.accumulated or self.accumulated)

    @property
    def length_in_epochs(self) -> float:
        """Length of the run in epochs; not a whole number if the last epoch is not complete."""
        return self.steps / self.steps_per_epoch


def plan_run(trainer: Trainer, *, batch_size: int, batches: int, start: Position) -> RunPlan:
    """Compute the size of a run from the trainer's limits.

    Args:
        trainer: has the limits and the number of processes.
        batch_size: number of images of a batch in one process.
        batches: number of batches of a whole epoch in one process.
        start: where the run begins.

    Raises:
        InputError: if the run has no end.
    """
    limit = trainer.limit_train_batches
    batches = min(batches, limit) if isinstance(limit, int) else int(batches * limit)
    steps_per_epoch = max(1, math.ceil(batches / trainer.accumulate_grad_batches))
    # In Lightning, -1 means no limit, and None means that only the other limit counts.
    max_epochs, max_steps = trainer.max_epochs, trainer.max_steps
    limits = [steps_per_epoch * max_epochs] if max_epochs is not None and max_epochs >= 0 else []
    limits += [max_steps] if max_steps >= 0 else []
    if not limits or min(limits) == 0:
        raise InputError(
            "--trainer.max_steps, --trainer.max_epochs: the schedule needs a run with an end and at least one step"
        )
    return RunPlan(
        batch_size=batch_size,
        batches=batches,
        # No step goes beyond the end of its epoch.
        accumulated=max(1, min(trainer.accumulate_grad_batches, batches)),
        process=trainer.global_rank,
        processes=trainer.world_size,
        steps=min(limits),
        steps_per_epoch=steps_per_epoch,
        epochs=math.ceil(min(limits) / steps_per_epoch),
        start=start,
    )


def position_of(loops: Mapping[str, object]) -> Position:
    """Return how far the training of a checkpoint has come.

    Args:
        loops: the state of Lightning's loops in the checkpoint.
    """
    fit = cast("Mapping[str, Mapping[str, Mapping[str, int]]]", loops["fit_loop"])
    epochs, batches = fit["epoch_progress"]["current"], fit["epoch_loop.batch_progress"]["current"]
    is_within = epochs["ready"] > epochs["processed"]
    return Position(epochs=epochs["processed"], batches=batches["ready"] if is_within else 0)


def is_within_step(loops: Mapping[str, object], *, accumulated: int) -> bool:
    """Return whether a checkpoint was written between two batches of one optimizer step.

    Args:
        loops: the state of Lightning's loops in the checkpoint.
        accumulated: number of batches per optimizer step; the last step of an epoch may have fewer.
    """
    fit = cast("Mapping[str, Mapping[str, object]]", loops["fit_loop"])
    is_last = bool(fit["epoch_loop.batch_progress"].get("is_last_batch"))
    return position_of(loops).batches % accumulated > 0 and not is_last
