"""`parckit train`: a recipe, a data source, a folder of results."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException

from parckit.cli.parsing import Parser, RecipeFile, Seed, verb_parser
from parckit.contract import InputError, ModelSpec
from parckit.runtimes.torch import open_checkpoint
from parckit.tasks import (
    ClassifyData,
    ClassifyTask,
    ImagesPerSecond,
    RampedEMA,
    SkippedImages,
    keep_freed_memory,
    without_noise,
)

Monitor = Literal["val_top1", "val_loss"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """What a training left behind.

    Attributes:
        best: checkpoint with the best monitored value.
        last: checkpoint of the last epoch.
        metrics: CSV of everything logged.
        config: YAML of the run's full configuration.
    """

    best: Path
    last: Path
    metrics: Path
    config: Path


def make_parser() -> Parser:
    """Return the parser of `parckit train`; recipes are checked against it."""
    parser = verb_parser("train", description="Train a classifier from a recipe.")
    parser.add_argument("--config", action=RecipeFile, help="a shipped recipe's name or a YAML file")
    parser.add_argument("--out", type=str, default="runs/train", help="folder of checkpoints, logs and configuration")
    parser.add_argument("--overwrite", action="store_true", help="replace the training that OUT holds")
    parser.add_argument("--resume", type=str | None, default=None, help="checkpoint to go on from, e.g. OUT/last.ckpt")
    parser.add_argument("--seed", type=Seed, default=0, help="of weights, order and augmentation")
    parser.add_argument("--monitor", type=Monitor, default="val_top1", help="what best.ckpt is best in")
    averaging = "validate and save weights averaged with this decay a step"
    parser.add_argument("--ema_decay", type=float | None, default=None, help=averaging)
    parser.add_class_arguments(ClassifyTask, "model")
    parser.add_class_arguments(ClassifyData, "data")
    parser.add_class_arguments(Trainer, "trainer", skip={"logger", "callbacks", "default_root_dir"}, instantiate=False)
    parser.set_defaults({"trainer.enable_model_summary": False, "trainer.log_every_n_steps": 10})
    parser.link_arguments("seed", "data.seed")
    parser.link_arguments("data.labels", "model.labels", apply_on="instantiate")
    parser.link_arguments("data.preprocessing", "model.preprocessing", apply_on="instantiate")
    return parser


def train(argv: list[str]) -> Run:
    """Train as the arguments say and return what was made.

    Raises:
        InputError: for bad arguments or data.
    """
    parser = make_parser()
    config = parser.parse(argv)
    out = Path(config.out)
    _check_folder(out, resume=config.resume, overwrite=config.overwrite)
    if config.trainer.limit_val_batches == 0:
        raise InputError("--trainer.limit_val_batches 0: best.ckpt is chosen by validation")
    seed_everything(config.seed, verbose=False)
    ready = parser.build(config)
    if config.resume is not None:
        _check_resumed(Path(config.resume), ready.model.spec)
    logger = CSVLogger(out, name="logs")
    metrics = Path(logger.log_dir) / "metrics.csv"
    run = Run(best=out / "best.ckpt", last=out / "last.ckpt", metrics=metrics, config=out / "config.yaml")
    with without_noise():
        trainer = _make_trainer(config, logger)
        if isinstance(trainer.accelerator, CPUAccelerator):
            keep_freed_memory()
        out.mkdir(parents=True, exist_ok=True)
        if config.resume is None:
            run.best.unlink(missing_ok=True)
            run.last.unlink(missing_ok=True)
        parser.save(config, run.config, overwrite=True)
        _fit(trainer, ready.model, ready.data, resume=config.resume)
    if not run.best.is_file():
        raise InputError(f"--out {out}: holds no best.ckpt, for no epoch was both trained and validated")
    return run


def main(argv: list[str]) -> None:
    """Run the verb."""
    run = train(argv)
    print(f"best checkpoint: {run.best}\nlast checkpoint: {run.last}")
    print(f"metrics: {run.metrics}\nconfiguration: {run.config}")


def _check_folder(out: Path, *, resume: str | None, overwrite: bool) -> None:
    if resume is not None and not Path(resume).is_file():
        raise InputError(f"--resume {resume}: no such file")
    held = [path for path in (out / "last.ckpt", out / "best.ckpt") if path.exists()]
    if held and resume is None and not overwrite:
        raise InputError(f"--out {out}: holds a training; go on with --resume {held[0]}, or give --overwrite")


def _check_resumed(path: Path, spec: ModelSpec) -> None:
    if path.suffix != ".ckpt":
        raise InputError(f"--resume {path}: only a .ckpt file holds the state of a training")
    _, trained = open_checkpoint(path)
    if trained != spec:
        raise InputError(f"--resume {path}: its model, labels or preprocessing are not those of this training")


def _callbacks(config: Namespace) -> list[Callback]:
    mode = "max" if config.monitor == "val_top1" else "min"
    best = ModelCheckpoint(config.out, filename="best", monitor=config.monitor, mode=mode, enable_version_counter=False)
    last = ModelCheckpoint(config.out, filename="last", enable_version_counter=False)  # every epoch, better or not
    averaging = [] if config.ema_decay is None else [RampedEMA(config.ema_decay)]
    bar = [] if config.trainer.enable_progress_bar is False else [RichProgressBar()]
    return [best, last, *averaging, ImagesPerSecond(), SkippedImages(), *bar]


def _make_trainer(config: Namespace, logger: CSVLogger) -> Trainer:
    callbacks = _callbacks(config)
    loggers = [logger, TensorBoardLogger(config.out, name="logs", version=logger.version)]
    try:
        return Trainer(**config.trainer.as_dict(), default_root_dir=config.out, logger=loggers, callbacks=callbacks)
    except (MisconfigurationException, ValueError) as error:
        raise _refused(error) from error


def _fit(trainer: Trainer, task: ClassifyTask, data: ClassifyData, *, resume: str | None) -> None:
    try:
        trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
    except MisconfigurationException as error:
        raise _refused(error) from error
    except SystemExit as error:  # Lightning's answer to Ctrl-C
        raise KeyboardInterrupt from error


def _refused(error: Exception) -> InputError:
    return InputError(f"--trainer: {' '.join(str(error).split())}")
