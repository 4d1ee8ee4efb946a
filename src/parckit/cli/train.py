"""`parckit train`: a recipe, a data source, a folder of results."""

import logging
import warnings
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.callbacks import ModelCheckpoint, RichProgressBar
from lightning.pytorch.loggers import CSVLogger, TensorBoardLogger

from parckit.cli.parsing import Parser, RecipeFile, verb_parser
from parckit.contract import InputError
from parckit.tasks import ClassifyData, ClassifyTask, ImagesPerSecond, RampedEMA, SkippedImages

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
    parser.add_argument("--seed", type=int, default=0, help="of weights, order and augmentation")
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
    seed_everything(config.seed, verbose=False)
    ready = parser.build(config)
    out.mkdir(parents=True, exist_ok=True)
    parser.save(config, out / "config.yaml", overwrite=True)
    mode = "max" if config.monitor == "val_top1" else "min"
    best = ModelCheckpoint(out, filename="best", monitor=config.monitor, mode=mode, enable_version_counter=False)
    last = ModelCheckpoint(out, filename="last", enable_version_counter=False)  # every epoch, better or not
    logger = CSVLogger(out, name="logs")
    with _without_noise():
        trainer = Trainer(
            **config.trainer.as_dict(),
            default_root_dir=out,
            logger=[logger, TensorBoardLogger(out, name="logs", version=logger.version)],
            callbacks=[best, last, *_callbacks(config.ema_decay)],
        )
        trainer.fit(ready.model, datamodule=ready.data, ckpt_path=config.resume, weights_only=True)
    return Run(
        best=Path(best.best_model_path),
        last=Path(last.best_model_path),
        metrics=Path(logger.experiment.metrics_file_path),
        config=out / "config.yaml",
    )


def main(argv: list[str]) -> None:
    """Run the verb."""
    run = train(argv)
    print(f"best checkpoint: {run.best}\nlast checkpoint: {run.last}")
    print(f"metrics: {run.metrics}\nconfiguration: {run.config}")


def _check_folder(out: Path, *, resume: str | None, overwrite: bool) -> None:
    if resume is not None and not Path(resume).is_file():
        raise InputError(f"--resume {resume}: no such file")
    last = out / "last.ckpt"
    if last.exists() and resume is None and not overwrite:
        raise InputError(f"--out {out}: holds a training; go on with --resume {last}, or give --overwrite")


def _callbacks(ema_decay: float | None) -> list[Callback]:
    averaging = [] if ema_decay is None else [RampedEMA(ema_decay)]
    return [*averaging, ImagesPerSecond(), SkippedImages(), RichProgressBar()]


@contextmanager
def _without_noise() -> Generator[None, None, None]:
    """Keep Lightning's advertisements and the warnings that a correct run raises off the terminal."""
    for name in ("lightning.pytorch", "lightning.fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for message in (
            r"Checkpoint directory .* exists and is not empty",  # it holds config.yaml, or the run to resume
            r".*isinstance\(treespec, LeafSpec\)",  # Lightning 2.6 on a newer torch
            r"The number of training batches .* is smaller than the logging interval",  # small data are no fault
            r"The '\w+' does not have many workers",  # the recipe says how many
        ):
            warnings.filterwarnings("ignore", message=message)
        yield
