"""`parckit train`: a recipe, a data source, a folder of results."""

import math
from collections.abc import Sized
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, cast

from jsonargparse import Namespace
from jsonargparse.typing import PositiveFloat, PositiveInt
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import MisconfigurationException, SIGTERMException

from parckit.cli.parsing import Parser, RecipeFile, Seed, verb_parser
from parckit.contract import InputError, ModelSpec, TerminatedError
from parckit.tasks import (
    LAST,
    PREVIOUS,
    AtomicCheckpointIO,
    Averaging,
    ClassifyData,
    ClassifyTask,
    Continuity,
    ImagesPerSecond,
    SaveBest,
    SaveLast,
    SkippedImages,
    StopOnNaN,
    SyncNorms,
    WeightEMA,
    average_checkpoints,
    check_resumable,
    ending_together,
    find_resumable,
    keep_freed_memory,
    without_noise,
)

Monitor = Literal["val_top1", "val_loss"]
AUTO = "auto"
AVERAGE = "average.safetensors"
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
    parser = verb_parser("train", description="Train a classifier from a recipe.")
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
    parser.add_class_arguments(ClassifyTask, "model")
    parser.add_class_arguments(ClassifyData, "data")
    parser.add_class_arguments(Trainer, "trainer", skip={*_OURS}, instantiate=False)
    parser.set_defaults({"trainer.enable_model_summary": False, "trainer.log_every_n_steps": 10})
    parser.set_defaults({"trainer.use_distributed_sampler": False})  # the data module deals images out itself
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
    resume = _find_start(config)
    _check_trainer(config.trainer)
    seed_everything(config.seed, verbose=False)
    ready = parser.build(config)
    logger = CSVLogger(out, name="logs")
    minutes = config.save_minutes if ready.data.resumes_within_epochs else None
    best, last = _best(config), SaveLast(out, minutes=minutes)
    continuity = _continuity(config, ready.data)
    with without_noise():
        trainer = _make_trainer(config, [*_callbacks(config, ready.ema), continuity, best, last], logger)
        if resume is not None:
            _check_resumed(resume, ready.model.spec, continuity, processes=trainer.world_size)
        if trainer.is_global_zero:
            _prepare(parser, config, resume=resume)
        _fit(trainer, ready.model, ready.data, resume=resume)
    run = Run(
        best=out / Path(best.best_model_path).name,
        last=out / LAST,
        average=out / AVERAGE if config.keep_best > 1 else None,
        metrics=Path(logger.log_dir) / "metrics.csv",
        config=out / "config.yaml",
    )
    if not run.best.is_file():
        raise InputError(f"--out {out}: holds no best.ckpt, for no epoch was both trained and validated")
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


def _find_start(config: Namespace) -> Path | None:
    """Return the checkpoint to go on from; None to begin."""
    out = Path(config.out)
    if config.resume == AUTO and config.overwrite:
        raise InputError("--resume auto: goes on with the training that --overwrite replaces; give one of them")
    given = None if config.resume is None else Path(config.resume)
    start = find_resumable(out) if config.resume == AUTO else given
    held = _held(out)
    if held and not config.overwrite and not _lies_in(out, start):
        raise InputError(f"--out {out}: holds a training; go on with --resume {held[0]}, or give --overwrite")
    return start


def _lies_in(folder: Path, path: Path | None) -> bool:
    return path is not None and path.resolve().parent == folder.resolve()


def _held(out: Path) -> list[Path]:
    """Return what a training left in its folder, what it can go on from first."""
    return [*out.glob(LAST), *out.glob(PREVIOUS), *sorted(out.glob("best*.ckpt")), *out.glob(AVERAGE)]


def _check_trainer(options: Namespace) -> None:
    for name in ("limit_val_batches", "val_check_interval"):
        if options[name] == 0:
            raise InputError(f"--trainer.{name} 0: best.ckpt is chosen by validation")
    if options.accumulate_grad_batches < 1:
        raise InputError(f"--trainer.accumulate_grad_batches {options.accumulate_grad_batches}: must be at least 1")


def _continuity(config: Namespace, data: ClassifyData) -> Continuity:
    optimizer, distillation = config.model.optimizer.as_dict(), config.model.distillation
    belonging = ("name", "weight_decay", "decay_all", "layer_decay", "options")  # the rate is set anew at every step
    teacher = distillation.teacher if distillation is not None and distillation.features > 0 else None
    sizes = config.data.sizes
    return Continuity(
        always={
            **{f"--model.optimizer.{name}": optimizer[name] for name in belonging},
            "--ema": None if config.ema is None else "given",
            "--model.distillation.features of the teacher": teacher,
            "--data of this many images:": _count_images(data),
        },
        within_epochs={
            "--seed": config.seed,
            "--data.batch_size": config.data.batch_size,
            "--data.sizes": None if sizes is None else sizes.as_dict(),
            "--trainer.accumulate_grad_batches": config.trainer.accumulate_grad_batches,
        },
    )


def _count_images(data: ClassifyData) -> int | None:
    return len(cast("Sized", data.train_dataloader().dataset)) if data.resumes_within_epochs else None


def _check_resumed(path: Path, spec: ModelSpec, continuity: Continuity, *, processes: int) -> None:
    try:
        continuity.check(path, check_resumable(path, spec), processes=processes)
    except InputError as error:
        raise InputError(f"--resume {error}") from error


def _prepare(parser: Parser, config: Namespace, *, resume: Path | None) -> None:
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for path in () if _lies_in(out, resume) else _held(out):
        path.unlink()
    kept = config.clone()
    for name in ("overwrite", "resume"):  # said of this start, not of the training
        kept.pop(name)
    parser.save(kept, out / "config.yaml", overwrite=True)


def _best(config: Namespace) -> SaveBest:
    return SaveBest(
        config.out,
        filename="best" if config.keep_best == 1 else "best-{epoch}",
        monitor=config.monitor,
        mode="max" if config.monitor == "val_top1" else "min",
        save_top_k=config.keep_best,
        auto_insert_metric_name=False,
        enable_version_counter=False,
    )


@rank_zero_only
def _write_average(best: SaveBest, path: Path) -> None:
    ranked = sorted(best.best_k_models, key=lambda path: float(best.best_k_models[path]), reverse=best.mode == "max")
    average_checkpoints([Path(path) for path in ranked], path)


class _Announcement(Callback):
    """Say before the first step what follows from batch size, processes and accumulation."""

    def __init__(self, *, lr: float, lr_batch: int | None) -> None:
        self._lr = lr
        self._lr_batch = lr_batch

    @rank_zero_only
    def on_train_start(self, trainer: Trainer, pl_module: ClassifyTask) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        accumulated, processes = trainer.accumulate_grad_batches, trainer.world_size
        each = pl_module.effective_batch // (accumulated * processes)
        steps = math.ceil(trainer.num_training_batches / accumulated)
        scaled = "" if self._lr_batch is None else f" ({self._lr:g} x {pl_module.effective_batch}/{self._lr_batch})"
        print(
            f"{pl_module.effective_batch} images a step ({each} x {accumulated} accumulated x {processes} processes),"
            f" {steps} steps an epoch, highest learning rate {pl_module.peak_lr:g}{scaled}"
        )


def _callbacks(config: Namespace, ema: Averaging | None) -> list[Callback]:
    averaging = [] if ema is None else [WeightEMA(ema)]
    bar = [] if config.trainer.enable_progress_bar is False else [RichProgressBar()]
    optimizer = config.model.optimizer
    announcement = _Announcement(lr=optimizer.lr, lr_batch=optimizer.lr_batch)
    return [StopOnNaN(Path(config.out)), *averaging, ImagesPerSecond(), SkippedImages(), announcement, *bar]


def _make_trainer(config: Namespace, callbacks: list[Callback], logger: CSVLogger) -> Trainer:
    loggers = [logger, TensorBoardLogger(config.out, name="logs", version=logger.version)]
    arguments = config.trainer.as_dict()
    sync = [SyncNorms()] if arguments.pop("sync_batchnorm") else []
    try:
        return Trainer(
            **arguments,
            default_root_dir=config.out,
            logger=loggers,
            callbacks=callbacks,
            plugins=[AtomicCheckpointIO(), *sync],
        )
    except (MisconfigurationException, ValueError) as error:
        raise _refused(error) from error


def _fit(trainer: Trainer, task: ClassifyTask, data: ClassifyData, *, resume: Path | None) -> None:
    if isinstance(trainer.accelerator, CPUAccelerator):
        keep_freed_memory()
    try:
        with ending_together(trainer):
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise _refused(error) from error
    except ValueError as error:
        if "`val_check_interval`" in str(error):  # beyond the epoch's length, which is known only now
            raise _refused(error) from error
        raise
    except SIGTERMException as error:
        raise TerminatedError("asked to end (SIGTERM); --resume auto goes on from the last checkpoint") from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from error


def _refused(error: Exception) -> InputError:
    return InputError(f"--trainer: {' '.join(str(error).split())}")
