"""Lightning's trainer: make it for a run, and turn what it raises into our own errors."""

import errno
import signal
from collections.abc import Callable

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ProgressBar
from lightning.pytorch.loggers import Logger
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from parckit.contract import InputError
from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.checkpoints import AtomicCheckpointIO
from parckit.tasks.datamodule import TrainingData
from parckit.tasks.distributed import SyncNorms, ending_together
from parckit.tasks.errors import TerminatedError
from parckit.tasks.guards import anomalies_named
from parckit.tasks.module import TrainingModule
from parckit.tasks.resumable import Resumable
from parckit.tasks.trainer_options import PROFILERS

_GO_ON = "--resume auto goes on from the last checkpoint"
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
"""The disk is full, the quota is used up, or the disk is read-only."""


def make_trainer(
    config: Namespace, callbacks: list[Callback], loggers: list[Logger], *, checkpoints: AtomicCheckpointIO
) -> Trainer:
    """Make the trainer of a parsed recipe.

    Args:
        config: the recipe.
        callbacks: of the run.
        loggers: of the run.
        checkpoints: reads and writes the checkpoints.

    Raises:
        InputError: if Lightning refuses an option.
    """
    arguments = config.trainer.as_dict()
    # If none of our callbacks is a bar, Lightning would add its own.
    arguments["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    if arguments["profiler"] is not None:
        arguments["profiler"] = PROFILERS[arguments["profiler"]](dirpath=config.out, filename="profile")
    sync = [SyncNorms()] if arguments.pop("sync_batchnorm") else []
    try:
        trainer = Trainer(
            **arguments,
            default_root_dir=config.out,
            logger=loggers,
            callbacks=callbacks,
            plugins=[checkpoints, *sync],
        )
    except (MisconfigurationException, ValueError, TypeError) as error:
        raise _refused(error) from error
    if sync and trainer.world_size > 1 and isinstance(trainer.accelerator, CPUAccelerator):
        raise InputError("--trainer.sync_batchnorm true: does not run on CPUs")
    return trainer


def fit(
    trainer: Trainer,
    module: TrainingModule,
    data: TrainingData,
    *,
    start: Resumable | None,
    asked_by: Callable[[], int | None],
) -> None:
    """Train.

    Args:
        trainer: of the run.
        module: the network and its task.
        data: the images.
        start: the checkpoint that the run goes on from; None for a new run.
        asked_by: returns the number of the signal that asked this process to end.

    Raises:
        InputError: if Lightning refuses an option, or the disk is full.
        TerminatedError: if a signal asked the process to end.
    """
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    try:
        with ending_together(trainer), anomalies_named(trainer):
            trainer.fit(module, datamodule=data, ckpt_path=start and start.path, weights_only=True)
    except MisconfigurationException as error:
        raise _refused(error) from error
    except ValueError as error:
        # Only now does Lightning notice that the interval is longer than an epoch.
        if "`val_check_interval`" in str(error):
            raise _refused(error) from error
        raise
    except OSError as error:
        # An error with a file name is clear by itself. An error without one comes from the logs.
        if error.errno not in _UNWRITABLE or error.filename is not None:
            raise
        where = f"--out {trainer.default_root_dir}: {error.strerror}"
        raise InputError(f"{where}; the checkpoints in it are intact, {_GO_ON}") from error
    except SIGTERMException as error:
        raise TerminatedError(f"asked to end; {_GO_ON}", signum=asked_by() or signal.SIGTERM) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise TerminatedError(f"interrupted; {_GO_ON}", signum=signal.SIGINT) from error


def _refused(error: Exception) -> InputError:
    return InputError(f"--trainer: {' '.join(str(error).split())}")
