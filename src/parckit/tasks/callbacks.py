"""What a run logs and reports while it trains."""

import logging
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import cast

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from parckit.contract import InputError
from parckit.data import Batch, check_broken
from parckit.tasks.module import MIN_BATCH, TrainingModule, has_loss

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
        if not has_loss(batch):
            loss = None
        if loss is not None:
            # Lightning has divided the loss by the number of accumulated batches, and the module has weighted it.
            loss = loss.float() * trainer.accumulate_grad_batches / pl_module.loss_weight
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
    """Count the broken images that `--data.on_error skip` leaves out; warn after every epoch, stop if there are many.

    A run also stops if a validation has no image, or if no training batch of an epoch had enough images for a loss:
    such a run learns nothing, and its best checkpoint says nothing.

    Args:
        max_broken: largest share of broken images in an epoch or a validation, from 0 to 1.
        source: where the images come from, for the messages.
        train_images: number of training images of all processes. An epoch draws at most this many.
    """

    def __init__(self, *, max_broken: float, source: str, train_images: int) -> None:
        self._max_broken = max_broken
        self._source = source
        self._train_images = train_images
        self._training = self._validation = _Counts()
        self._is_first_process = True

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Note which process this is."""
        del pl_module, stage
        self._is_first_process = trainer.is_global_zero

    def state_dict(self) -> dict[str, int]:
        """Return the counts of the epoch so far, for a run that goes on inside it."""
        return asdict(self._training)

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Take the counts of the epoch so far. A checkpoint has those of the first process."""
        if self._is_first_process:
            self._training = _Counts(**state_dict)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count from zero."""
        del trainer, pl_module
        self._training = _Counts()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Count a training batch.

        Raises:
            InputError: if this process alone has too many broken images for the whole epoch.
        """
        del pl_module, outputs, batch_idx
        self._training = self._training.plus(batch)
        what = f"training images of epoch {trainer.current_epoch}"
        self._check_share(self._training, what, expected=self._train_images)

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the training images before a checkpoint becomes the best one, and count the validation from zero.

        Raises:
            InputError: if the epoch so far has no loss, or, at its end, too many broken images.
        """
        self._validation = _Counts()
        if not trainer.sanity_checking:
            self._check_training(trainer, pl_module, is_complete=trainer.is_last_batch)

    def on_validation_batch_end(
        self,
        trainer: Trainer,
        pl_module: LightningModule,
        outputs: object,
        batch: Batch,
        batch_idx: int,
        dataloader_idx: int = 0,
    ) -> None:
        """Count a validation batch."""
        del trainer, pl_module, outputs, batch_idx, dataloader_idx
        self._validation = self._validation.plus(batch)

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the validation images of all processes, except for Lightning's trial batches.

        Raises:
            InputError: if there is no image, or too many are broken.
        """
        if trainer.sanity_checking:
            return
        counts = self._validation.summed(trainer, pl_module)
        what = f"validation images of epoch {trainer.current_epoch}"
        self._check_share(counts, what)
        if not counts.images:
            raise InputError(f"--data {self._source}: {counts.skipped} of {counts.total} {what} are broken")

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Check the epoch of all processes, and report the broken images of its training and last validation.

        Raises:
            InputError: if the epoch has no loss, or too many broken images.
        """
        counts = self._check_training(trainer, pl_module, is_complete=True)
        skipped = counts.skipped + self._validation.summed(trainer, pl_module).skipped
        if skipped and trainer.is_global_zero:
            _log.warning("epoch %d: %d broken images were skipped", trainer.current_epoch, skipped)
        self._training = self._validation = _Counts()

    def _check_training(self, trainer: Trainer, pl_module: LightningModule, *, is_complete: bool) -> "_Counts":
        counts = self._training.summed(trainer, pl_module)
        if counts.images or counts.skipped:  # a run that goes on from the end of an epoch has not counted
            what = f"training images of epoch {trainer.current_epoch}"
            if is_complete or not counts.losses:
                self._check_share(counts, what)
            if not counts.losses:
                broken = f"{counts.skipped} of {counts.total} {what} are broken"
                raise InputError(f"--data {self._source}: {broken}; no batch had {MIN_BATCH} intact images")
        return counts

    def _check_share(self, counts: "_Counts", what: str, *, expected: int | None = None) -> None:
        check_broken(
            what,
            source=self._source,
            skipped=counts.skipped,
            seen=counts.total,
            expected=counts.total if expected is None else expected,
            max_broken=self._max_broken,
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class _Counts:
    """Numbers of intact images, of broken images, and of batches with enough intact images for a loss."""

    images: int = 0
    skipped: int = 0
    losses: int = 0

    @property
    def total(self) -> int:
        """Number of all images, with the broken ones."""
        return self.images + self.skipped

    def plus(self, batch: Batch) -> "_Counts":
        """Return the counts with one more batch."""
        return _Counts(
            images=self.images + len(batch.targets),
            skipped=self.skipped + batch.skipped,
            losses=self.losses + has_loss(batch),
        )

    def summed(self, trainer: Trainer, pl_module: LightningModule) -> "_Counts":
        """Return the sum over all processes."""
        in_this_process = torch.tensor([self.images, self.skipped, self.losses], device=pl_module.device)
        summed = cast("Tensor", trainer.strategy.reduce(in_this_process, reduce_op="sum"))
        images, skipped, losses = (int(number) for number in summed)
        return _Counts(images=images, skipped=skipped, losses=losses)
