"""Checkpoints that survive the end of the process: they are written often, and completely or not at all."""

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
from parckit.networks import add_digest, read_training
from parckit.tasks.former import translate_training

SETTINGS_KEY = "parckit_settings"
"""Key of the settings in a checkpoint that `Continuity` compares."""

_log = logging.getLogger(__name__)

_ENDINGS = tuple(getattr(signal, name) for name in ("SIGTERM", "SIGINT", "SIGHUP") if hasattr(signal, name))
"""SIGTERM comes from a scheduler, SIGINT from Ctrl-C, SIGHUP from a closed terminal; Windows has no SIGHUP."""


@final
class AtomicCheckpointIO(CheckpointIO):
    """Write checkpoints completely or not at all.

    A checkpoint is written to a temporary file, forced to the disk, and then renamed. So neither a kill nor a power cut
    leaves a partial file under the checkpoint's name. An old `last.ckpt` is renamed to `previous.ckpt`.

    Attributes:
        has_loaded: whether a checkpoint was read.
    """

    def __init__(self) -> None:
        self.has_loaded = False

    def save_checkpoint(self, checkpoint: dict[str, object], path: str | Path, storage_options: object = None) -> None:
        """Write a checkpoint. `storage_options` comes from Lightning and is not used.

        Raises:
            InputError: if the disk is full or the folder cannot be written. The old checkpoints stay.
        """
        del storage_options
        target = Path(path)
        add_digest(checkpoint)
        # Not straight to the file: torch's error about a full disk does not say that the disk is full.
        content = io.BytesIO()
        torch.save(checkpoint, content)
        try:
            with replacing(target) as temporary:
                _write_to_disk(temporary, content)
                if target.name == LAST and target.exists():
                    target.replace(target.with_name(PREVIOUS))
            _sync_names(target.parent)
        except OSError as error:
            problem = f"{target}: cannot be written ({error.strerror})"
            raise InputError(f"{problem}; the earlier checkpoints are intact") from error

    def load_checkpoint(
        self,
        path: str | Path,
        map_location: object = None,
        weights_only: bool | None = None,  # noqa: FBT001 - Lightning's signature
    ) -> dict[str, object]:
        """Read a checkpoint to the CPU without running code from it. The other arguments, Lightning's, are not used.

        Raises:
            InputError: if the file is damaged, or not written by `parckit train`.
        """
        del map_location, weights_only
        checkpoint = translate_training(read_training(Path(path))[1])
        self.has_loaded = True
        return checkpoint

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint if it exists."""
        Path(path).unlink(missing_ok=True)


@final
class SaveBest(ModelCheckpoint):
    """Lightning's callback that keeps the best checkpoints, also when a run goes on in a moved or copied folder.

    Lightning itself would forget the checkpoints and their scores, and a worse one could replace the best one. Or it
    would remember checkpoints that were not copied.
    """

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Correct the paths of the best checkpoints if the run goes on from a checkpoint in this folder."""
        del pl_module
        folder = Path(cast("str", self.dirpath))
        state = cast("dict[str, dict[str, object]]", checkpoint["callbacks"]).get(self.state_key)
        if state is None or Path(cast("str", trainer.ckpt_path)).resolve().parent != folder:
            return
        remembered = cast("dict[str, Tensor]", state["best_k_models"])
        moved = {folder / Path(path).name: score for path, score in remembered.items()}
        scores = {str(path): score for path, score in moved.items() if path.is_file()}
        # A smaller `--keep_best` keeps fewer of them; `on_train_start` removes the others.
        ranked = sorted(scores, key=lambda path: float(scores[path]), reverse=self.mode == "max")[: self.save_top_k]
        state["dirpath"] = self.dirpath
        state["best_k_models"] = {path: scores[path] for path in ranked}
        state["best_model_path"] = ranked[0] if ranked else ""
        state["best_model_score"] = scores[ranked[0]] if ranked else None
        state["kth_best_model_path"] = ranked[-1] if len(ranked) == self.save_top_k else ""

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Remove what a killed run left: worse checkpoints that it had replaced, but not yet removed."""
        del pl_module
        # Lightning would never remove the checkpoint that the run goes on from.
        trainer.ckpt_path = None
        remembered = {Path(path).name for path in self.best_k_models}
        for path in Path(cast("str", self.dirpath)).glob("best-*-*.ckpt") if trainer.is_global_zero else ():
            step = path.stem.rpartition("-")[2]
            if path.name not in remembered and step.isdecimal() and int(step) <= trainer.global_step:
                path.unlink()


@final
class SaveLast(Checkpoint):
    """Write `last.ckpt` after every epoch, after some minutes inside an epoch, and when the process is asked to end.

    SIGTERM, Ctrl-C and a closed terminal ask the process to end. A second Ctrl-C ends it without saving.

    Inside an epoch, the callback waits until the optimizer step is complete, because accumulated gradients are not
    saved. If a validation follows, it waits until the validation is complete.

    Args:
        folder: folder of `last.ckpt`.
        minutes: longest time between two saves, so the most work that can be lost.
        clock: returns the time in seconds.

    Attributes:
        asked_by: number of the signal that asked this process to end; None if there was none.

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
        """Remove the temporary files of a killed run."""
        del pl_module, stage
        if trainer.is_global_zero:
            remove_leftovers(self._path.parent, names=r".*\.(ckpt|safetensors|yaml)")

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Begin to count the minutes and to handle signals; ignored signals stay ignored, such as SIGHUP under nohup.

        Lightning's own handler of SIGTERM would send a message to the other processes at once. They may be in another
        operation, and then all processes would wait for ever. Lightning restores all handlers when the training ends.
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
        """Save if the minutes have passed in one of the processes, or if one of them is asked to end.

        Raises:
            SIGTERMException: in all processes, if one of them is asked to end.
            KeyboardInterrupt: instead, in a process that Ctrl-C asked.
        """
        del pl_module, outputs, batch
        if _is_between_steps(trainer, batch_idx + 1):
            self._save_if_due(trainer)

    def _save_if_due(self, trainer: Trainer) -> None:
        is_due = self._clock() - self._saved_at >= self._seconds
        one_says = partial(trainer.strategy.reduce_boolean_decision, all=False)
        if one_says(is_due or self.asked_by is not None):
            self._save(trainer)
            self._end_if_asked(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save after a validation inside an epoch, as after a batch: if every step is validated, no batch is saved.

        Raises:
            SIGTERMException: in all processes, if one of them is asked to end.
            KeyboardInterrupt: instead, in a process that Ctrl-C asked.
        """
        del pl_module
        if not trainer.sanity_checking and not trainer.is_last_batch:
            self._save_if_due(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Save the complete epoch, after its validation.

        Raises:
            SIGTERMException: in all processes, if one of them is asked to end.
            KeyboardInterrupt: instead, in a process that Ctrl-C asked.
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
    """Return whether, after `batches` batches, a step is complete and no validation or epoch's end follows."""
    due = cast("float", trainer.val_check_batch) if trainer.enable_validation else None
    # Without an interval in epochs, validation counts the batches of all epochs.
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
    """Force the names in a folder to the disk. This is possible only on POSIX systems, where a folder can be opened."""
    if os.name != "posix":
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
