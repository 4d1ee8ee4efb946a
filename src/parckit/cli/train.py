"""`parckit train`: a recipe, a data source, a folder of results."""

import errno
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import LambdaCallback, ProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from parckit.cli.parsing import SHORTHANDS, Parser, RecipeFile, Seed, verb_parser
from parckit.cli.starting import (
    AVERAGE,
    check_resumed,
    check_validated,
    find_start,
    make_continuity,
    match_weights,
    prepare,
)
from parckit.cli.training_output import Announcement, progress_display
from parckit.contract import InputError, TerminatedError
from parckit.tasks import (
    LAST,
    AtomicCheckpointIO,
    Averaging,
    ClassifyData,
    ClassifyTask,
    Resumable,
    SaveBest,
    SaveLast,
    SkippedImages,
    StepMetrics,
    StopOnNaN,
    SyncNorms,
    WeightEMA,
    average_checkpoints,
    ending_together,
    keep_freed_memory,
    quiet_lightning,
)

Monitor = Literal["val_top1", "val_loss"]
_GO_ON = "--resume auto goes on from the last checkpoint"
_UNWRITABLE = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_OURS = ("logger", "callbacks", "default_root_dir", "plugins")


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a training left behind.

    Attributes:
        best: checkpoint with the best monitored value.
        last: checkpoint of the last epoch.
        average: mean of the best checkpoints' weights; None if only one was to be kept.
        metrics: CSV of everything logged.
        config: YAML of the run's full configuration.
    """

    best: Path
    last: Path
    average: Path | None
    metrics: Path
    config: Path


def make_parser() -> Parser:
    """Return the parser of `parckit train`; recipes are checked against it."""
    short = ", ".join(f"{name} X for {full} X" for name, full in SHORTHANDS.items())
    parser = verb_parser("train", description=f"Train a classifier from a recipe. Short: {short}.")
    parser.add_argument("--config", action=RecipeFile, help="a shipped recipe's name or a YAML file")
    parser.add_argument("--out", type=str, default="runs/train", help="folder of checkpoints, logs and configuration")
    parser.add_argument("--overwrite", action="store_true", help="replace the training that OUT holds")
    resume = "go on from a checkpoint, e.g. OUT/last.ckpt; auto: from the newest in OUT, or begin if there is none"
    parser.add_argument("--resume", type=str | None, default=None, help=resume)
    parser.add_argument("--seed", type=Seed, default=0, help="of weights, order and augmentation")
    parser.add_argument("--monitor", type=Monitor, default="val_top1", help="what best.ckpt is best in")
    keep_best = "keep so many of the best checkpoints; more than one are averaged in the end"
    parser.add_argument("--keep_best", type=PositiveInt, default=1, help=keep_best)
    save_minutes = "also save last.ckpt inside an epoch, every so often"
    parser.add_argument("--save_minutes", type=PositiveFloat, default=15.0, help=save_minutes)
    parser.add_argument("--ema", type=Averaging | None, default=None, help="validate and save averaged weights")
    match_weights = "take mean, std and channel order of the images from model.weights, if there are any"
    parser.add_argument("--match_weights", type=bool, default=False, help=match_weights)
    parser.add_class_arguments(ClassifyTask, "model")
    parser.add_class_arguments(ClassifyData, "data")
    parser.add_class_arguments(Trainer, "trainer", skip={*_OURS}, instantiate=False)
    parser.set_defaults({"trainer.enable_model_summary": False, "trainer.log_every_n_steps": 10})
    # One process: more of them take more images per step. The data module deals images out itself.
    parser.set_defaults({"trainer.devices": 1, "trainer.use_distributed_sampler": False})
    parser.link_arguments("seed", "data.seed")
    parser.link_arguments("seed", "model.seed")
    parser.link_arguments("data.labels", "model.labels", apply_on="instantiate")
    parser.link_arguments("data.preprocessing", "model.preprocessing", apply_on="instantiate")
    return parser


def train(argv: list[str]) -> Run:
    """Train as the arguments say and return what was made.

    Raises:
        InputError: for bad arguments or data.
        TerminatedError: if the process was asked to end.
    """
    parser = make_parser()
    config = parser.parse(argv)
    out = Path(config.out)
    start = find_start(config)
    if config.match_weights:
        match_weights(config, start=start)
    seed_everything(config.seed, verbose=False)
    ready = parser.build(_without_weights(config) if start else config)
    _check_trainer(config.trainer)
    logger = CSVLogger(out, name="logs")
    best, last = _best(config), SaveLast(out, minutes=config.save_minutes)
    continuity = make_continuity(config, ready.data)
    announcement = Announcement(ready.data, start=start)

    def begin(trainer: Trainer, _: object) -> None:
        check_validated(trainer)
        prepare(parser, config, start=start)

    # What is replaced stays until all that can be refused has been looked at.
    callbacks = [LambdaCallback(on_train_start=begin), continuity, announcement, *_callbacks(config, ready.ema)]
    with quiet_lightning():
        trainer = _make_trainer(config, [*callbacks, best, last], logger)
        if start is not None:
            check_resumed(start, ready.model.spec, continuity, processes=trainer.world_size)
        _fit(trainer, ready, start=start, asked_by=lambda: last.asked_by)
    run = Run(
        best=out / Path(best.best_model_path).name,
        last=out / LAST,
        average=out / AVERAGE if config.keep_best > 1 else None,
        metrics=Path(logger.log_dir) / "metrics.csv",
        config=out / "config.yaml",
    )
    if not run.best.is_file():
        often = "--trainer.val_check_interval BATCHES validates more often"
        raise InputError(f"--out {out}: holds no best.ckpt, for no epoch was both trained and validated; {often}")
    if run.average is not None:
        _write_average(best, run.average)
    return run


def main(argv: list[str]) -> None:
    """Run the verb."""
    _show(train(argv))


@rank_zero_only
def _show(run: Run) -> None:
    print(f"best checkpoint: {run.best}\nlast checkpoint: {run.last}")
    if run.average is not None:
        print(f"average of the best: {run.average}")
    print(f"metrics: {run.metrics}\nconfiguration: {run.config}")


def _check_trainer(options: Namespace) -> None:
    for name in ("limit_val_batches", "val_check_interval"):
        if options[name] == 0:
            raise InputError(f"--trainer.{name} 0: best.ckpt is chosen by validation")
    if options.fast_dev_run:
        raise InputError("--trainer.fast_dev_run: keeps no checkpoint; try --trainer.max_epochs 1")
    if options.max_steps < 0 and options.max_epochs == -1:
        raise InputError("--trainer.max_steps -1: the run has no end; give a number, which the schedule needs")
    if options.max_time is not None:
        instead = "`timeout --signal=TERM 8h parckit train ...` ends so that it can go on to the last bit"
        raise InputError(f"--trainer.max_time {options.max_time}: leaves out the rest of its epoch; {instead}")
    for name, least in (("accumulate_grad_batches", 1), ("log_every_n_steps", 0)):
        if options[name] < least:
            raise InputError(f"--trainer.{name} {options[name]}: must be at least {least}")


def _without_weights(config: Namespace) -> Namespace:
    """Spare a run that goes on the weights that it began with: they may be gone, or no network be there."""
    changed = config.clone()
    changed.model.weights = None
    return changed


def _best(config: Namespace) -> SaveBest:
    return SaveBest(
        config.out,
        filename="best" if config.keep_best == 1 else "best-{epoch}-{step}",
        monitor=config.monitor,
        mode="max" if config.monitor == "val_top1" else "min",
        save_top_k=config.keep_best,
        auto_insert_metric_name=False,
        save_on_train_epoch_end=False,  # but when it was validated, which may be more or less often
        enable_version_counter=False,
    )


@rank_zero_only
def _write_average(best: SaveBest, path: Path) -> None:
    ranked = sorted(best.best_k_models, key=lambda path: float(best.best_k_models[path]), reverse=best.mode == "max")
    average_checkpoints([Path(path) for path in ranked], path)


def _callbacks(config: Namespace, ema: Averaging | None) -> list[Callback]:
    averaging = [] if ema is None else [WeightEMA(ema)]
    metrics = StepMetrics()
    progress = [] if config.trainer.enable_progress_bar is False else [progress_display(metrics)]
    return [StopOnNaN(Path(config.out)), *averaging, metrics, SkippedImages(), *progress]


def _make_trainer(config: Namespace, callbacks: list[Callback], logger: CSVLogger) -> Trainer:
    loggers = [logger, TensorBoardLogger(config.out, name="logs", version=logger.version)]
    arguments = config.trainer.as_dict()
    # Otherwise Lightning adds a bar of its own where there is none.
    arguments["enable_progress_bar"] = any(isinstance(callback, ProgressBar) for callback in callbacks)
    sync = [SyncNorms()] if arguments.pop("sync_batchnorm") else []
    try:
        trainer = Trainer(
            **arguments,
            default_root_dir=config.out,
            logger=loggers,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *sync],
        )
    except (MisconfigurationException, ValueError) as error:
        raise _refused(error) from error
    if sync and trainer.world_size > 1 and isinstance(trainer.accelerator, CPUAccelerator):
        raise InputError("--trainer.sync_batchnorm true: does not run on CPUs")
    return trainer


def _fit(trainer: Trainer, ready: Namespace, *, start: Resumable | None, asked_by: Callable[[], int | None]) -> None:
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    try:
        with ending_together(trainer):
            trainer.fit(ready.model, datamodule=ready.data, ckpt_path=start and start.path, weights_only=True)
    except MisconfigurationException as error:
        raise _refused(error) from error
    except ValueError as error:
        if "`val_check_interval`" in str(error):  # beyond the epoch's length, which is known only now
            raise _refused(error) from error
        raise
    except OSError as error:
        if error.errno not in _UNWRITABLE or error.filename is not None:  # then it is not one of the logs
            raise
        where = f"--out {trainer.default_root_dir}: {error.strerror}"
        raise InputError(f"{where}; the checkpoints in it are intact, {_GO_ON}") from error
    except SIGTERMException as error:
        raise TerminatedError(f"asked to end; {_GO_ON}", signum=asked_by() or signal.SIGTERM) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise TerminatedError(f"interrupted; {_GO_ON}", signum=signal.SIGINT) from error


def _refused(error: Exception) -> InputError:
    return InputError(f"--trainer: {' '.join(str(error).split())}")
