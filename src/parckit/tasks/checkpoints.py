"""Checkpoints that outlive whatever ends the process: written whole, often, and found again."""

import io
import logging
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import FrameType
from typing import cast, final

import torch
from lightning.fabric.plugins import CheckpointIO
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint, ModelCheckpoint
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException
from torch import Tensor

from parckit.contract import LAST, PREVIOUS, InputError, remove_leftovers, replacing
from parckit.data import Batch
from parckit.networks import read_training
from parckit.tasks.former import translate_training

SETTINGS_KEY = "parckit_settings"
"""Where a checkpoint keeps the settings that `Continuity` compares, beside the network's spec."""

_log = logging.getLogger(__name__)

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""SIGTERM comes from a scheduler, SIGINT from Ctrl-C, SIGHUP from a closed terminal; Windows has no SIGHUP."""


@final
class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints whole or not at all.

    The file is written beside its target, forced to the disk, then renamed, so that neither a kill nor a power cut
    leaves half of one under its name. A `last.ckpt` makes room for the next one as `previous.ckpt`.
    """

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        """Write; `storage_options` is Lightning's and unused.

        Raises:
            InputError: if the disk is full or the folder cannot be written; what was there stays.
        """
        del storage_options
        target = Path(path)
        content = io.BytesIO()  # torch's own writer turns a full disk into an error that does not say so
        torch.save(checkpoint, content)
        try:
            with replacing(target) as temporary:
                _write_to_disk(temporary, content)
                if target.name == LAST and target.exists():
                    target.replace(target.with_name(PREVIOUS))
            _sync_names(target.parent)
        except OSError as error:
            problem = f"{target}: cannot be written ({error.strerror})"
            raise InputError(f"{problem}; the checkpoints written before are intact") from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: object = None,
        weights_only: bool | None = None,  # noqa: FBT001 - Lightning's signature
    ) -> dict[str, object]:
        """Read to the CPU, executing nothing; the other arguments are Lightning's and unused.

        Raises:
            InputError: if it is damaged, or not written by `parckit train`.
        """
        del map_location, weights_only
        return translate_training(read_training(Path(path))[1])

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint, if it is there."""
        Path(path).unlink(missing_ok=True)


@final
class SaveBest(ModelCheckpoint):
    """Lightning's, but it knows its checkpoints again when a run goes on in a folder that was moved or copied.

    Lightning would forget them and their scores, and let the next epoch replace a better one; or remember those that
    were not copied along.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Point to where the checkpoints are, if the run goes on from one of this folder."""
        del pl_module
        folder = Path(cast("str", self.dirpath))
        state = cast("dict[str, dict[str, object]]", checkpoint["callbacks"]).get(self.state_key)
        if state is None or Path(cast("str", trainer.ckpt_path)).resolve().parent != folder:
            return
        remembered = cast("dict[str, Tensor]", state["best_k_models"])
        moved = {folder / Path(path).name: score for path, score in remembered.items()}
        scores = {str(path): score for path, score in moved.items() if path.is_file()}
        ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")
        state["dirpath"] = self.dirpath
        state["best_k_models"] = scores
        state["best_model_path"] = ranked[0] if ranked else ""
        state["best_model_score"] = scores[ranked[0]] if ranked else None
        state["kth_best_model_path"] = ranked[-1] if len(ranked) == self.save_top_k else ""


@final
class SaveLast(Checkpoint):
    """Write `last.ckpt` after every epoch, every so many minutes in it, and when the process is asked to end.

    SIGTERM, Ctrl-C and the closing of the terminal ask; a second Ctrl-C does not wait.

    Inside an epoch it waits for the end of an optimizer step, for gradients that are being accumulated are not saved,
    and for the end of a validation that is due.

    Args:
        folder: where to.
        minutes: at most so much work is lost.
        clock: tells seconds.

    Attributes:
        asked_by: number of the signal by which this process was asked to end; None if it was not.

    Raises:
        InputError: if `minutes` is not positive.
    """

    def __init__(self, folder: Path, *, minutes: float, clock: Callable[[], float] = time.monotonic) -> None:
        if not minutes > 0:
            raise InputError(f"save_minutes={minutes}: must be positive")
        self._path = folder / LAST
        self._seconds = 60 * minutes
        self._clock = clock
        self._saved_at = 0.0
        self.asked_by: int | None = None

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Remove what a killed run was writing."""
        del pl_module, stage
        if trainer.is_global_zero:
            remove_leftovers(self._path.parent, names=r".*\.ckpt")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the minutes and to listen for signals, but for those that are ignored, as SIGHUP under nohup.

        Lightning's own handler of SIGTERM would broadcast at once, wherever the other processes are, and all would wait
        for ever. Lightning puts all handlers back when the training ends.
        """
        del trainer, pl_module
        self._saved_at = self._clock()
        if threading.current_thread() is threading.main_thread():
            for signum in _ENDINGS:
                if signal.getsignal(signum) != signal.SIG_IGN:
                    signal.signal(signum, self._ask_to_end)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: object, batch: Batch, batch_idx: int
    ) -> None:
        """Save if one of the processes finds it is time, or is asked to end.

        Raises:
            SIGTERMException: in all of them, if one is asked to end.
            KeyboardInterrupt: instead of it, where Ctrl-C asked.
        """
        del pl_module, outputs, batch
        if not _is_between_steps(trainer, batch_idx + 1):
            return
        is_due = self._clock() - self._saved_at >= self._seconds
        one_says = partial(trainer.strategy.reduce_boolean_decision, all=False)
        if one_says(is_due or self.asked_by is not None):
            self._save(trainer)
            self._end_if_asked(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the epoch, validated and all.

        Raises:
            SIGTERMException: in all processes, if one is asked to end.
            KeyboardInterrupt: instead of it, where Ctrl-C asked.
        """
        del pl_module
        self._save(trainer)
        self._end_if_asked(trainer)

    def _ask_to_end(self, signum: int, frame: FrameType | None) -> None:
        del frame
        self.asked_by = signum
        if signum == signal.SIGINT:
            rank_zero_only(_log.warning)("ending after this step or validation; Ctrl-C again ends at once")
            signal.signal(signum, signal.default_int_handler)

    def _end_if_asked(self, trainer: Trainer) -> None:
        if trainer.strategy.reduce_boolean_decision(self.asked_by is not None, all=False):
            raise KeyboardInterrupt if self.asked_by == signal.SIGINT else SIGTERMException

    def _save(self, trainer: Trainer) -> None:
        trainer.save_checkpoint(self._path)
        self._saved_at = self._clock()


def _is_between_steps(trainer: Trainer, batches: int) -> bool:
    """Return whether after so many batches of an epoch a step is done and no validation or epoch's end follows."""
    due = cast("float", trainer.val_check_batch) if trainer.enable_validation else None
    # Validation by batches of all epochs has no interval in epochs.
    counted = (
        batches if trainer.check_val_every_n_epoch is not None else trainer.fit_loop.epoch_loop.total_batch_idx + 1
    )
    is_validated_next = due is not None and counted % due == 0
    return batches % trainer.accumulate_grad_batches == 0 and not trainer.is_last_batch and not is_validated_next


def _write_to_disk(path: Path, content: io.BytesIO) -> None:
    with path.open("wb") as file:
        file.write(content.getbuffer())
        file.flush()
        os.fsync(file.fileno())


def _sync_names(folder: Path) -> None:
    """Force a folder's list of names to the disk; only POSIX systems let a folder be opened for that."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
