"""`parckit.train` and `parckit train`: a recipe, a data source, a folder of results."""

import logging
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer, seed_everything
from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger
from lightning.pytorch.utilities import rank_zero_only

from parckit.contract import AVERAGE, BEST, CONFIG, LAST, LOGS, METRICS, InputError, NetworkSpec, check_folder, to_plain
from parckit.data import Source, name_source
from parckit.options import Parser
from parckit.tasks.averaging import AveragingSettings, WeightEMA, average_checkpoints
from parckit.tasks.callbacks import SkippedImages, StepMetrics
from parckit.tasks.checkpoints import AtomicCheckpointIO, SaveBest, SaveLast
from parckit.tasks.datamodule import TrainingData
from parckit.tasks.fitting import fit, make_trainer
from parckit.tasks.guards import StopOnNaN
from parckit.tasks.keywords import named_as_keywords, parse_recipe
from parckit.tasks.module import ModelSettings, TrainingModule
from parckit.tasks.patience import Patience
from parckit.tasks.plan import Position, RunPlan, plan_run
from parckit.tasks.progress import Announcement, Tell, progress_display
from parckit.tasks.qat import begin_qat, check_qat, quantized_spec
from parckit.tasks.quiet import quiet_lightning
from parckit.tasks.recipe import build_task
from parckit.tasks.resumable import Resumable, naming_damage
from parckit.tasks.starting import (
    Begin,
    check_resumed,
    find_start,
    lies_in,
    make_continuity,
    match_weights,
    removing_unused_logs,
    runs_go_on,
)
from parckit.tasks.task import TrainingTask
from parckit.tasks.threads import Threads
from parckit.tasks.tracking import TrackedRuns
from parckit.tasks.trainer_options import align_validation, check_trainer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """The files of a finished training.

    Attributes:
        best: checkpoint with the best monitored value.
        last: checkpoint of the last epoch.
        average: mean of the best checkpoints' weights; None if the recipe keeps only one checkpoint.
        metrics: CSV file with everything that was logged since the newest start; None if there is none.
        config: YAML file with the full configuration of the run.
        monitor: what "best" is measured by, such as `val_top1`.
        value: the best checkpoint's value of it.
    """

    best: Path
    last: Path
    average: Path | None
    metrics: Path | None
    config: Path
    monitor: str
    value: float


def train(recipe: Path | str, *, tell: Tell = _log.info, **overrides: object) -> Run:
    """Train as a recipe says: `parckit.train("classify/digits_parcnet_xxs", trainer={"max_epochs": 3})`.

    Args:
        recipe: the name of a shipped recipe, or a YAML file.
        tell: takes the lines that `parckit train` prints.
        overrides: keys that replace the recipe's, nested as in the YAML, such as `data={"source": "images"}`. `out`,
            `resume`, `overwrite` and `seed` are keys too. Paths may be strings or `pathlib.Path`.

    Raises:
        InputError: for an unknown key, a value that does not fit, or data that cannot be trained on.
        DivergedError: if the loss is not a finite number.
        TerminatedError: if a signal asked the process to end.
    """
    with named_as_keywords():
        return run_training(*parse_recipe(recipe, overrides), tell=tell)


def run_training(parser: Parser, config: Namespace, *, tell: Tell) -> Run:
    """Train as a parsed recipe says.

    Args:
        parser: writes the configuration to a file.
        config: the parsed recipe.
        tell: takes the lines for the user.

    Raises:
        InputError: for bad values or data.
        TerminatedError: if a signal asked the process to end.
    """
    # Read the recipe and the data.
    out, start = Path(config.out), find_start(config)
    check_folder(out, option="--out")
    if config.match_weights:
        match_weights(config, start=start)
    check_trainer(config.trainer, has_ema=config.ema is not None)
    seed_everything(config.seed, verbose=False)
    ready = parser.build(_without_weights(config) if start else config)
    task = build_task(config)
    data = TrainingData(ready.data, task=task, seed=config.seed)
    # Make the callbacks.
    best, last = _best(config, task), SaveLast(out, minutes=config.save_minutes)
    continuity = make_continuity(config, train_images=data.train_images)
    begin = Begin(parser, config, start=start)
    tracked = TrackedRuns(config, goes_on=runs_go_on(config, start=start))
    callbacks: list[Callback] = [begin, tracked, continuity, Announcement(start=start, tell=tell)]
    callbacks += [*_callbacks(config, ready.ema, task=task, tell=tell), _skipped_images(data), best, last]
    # Build the network and train it. The trainer knows how many processes there are, and so the size of the run.
    checkpoints = AtomicCheckpointIO()
    with quiet_lightning(), tracked.closing():
        trainer = make_trainer(config, callbacks, [*_logs(out), *tracked.loggers], checkpoints=checkpoints)
        _tell_data(data, source=config.data.source, tell=tell)
        plan = _plan(trainer, data, start=start)
        data.begin(plan)
        spec = _spec(ready.model, task, data)
        if ready.qat is not None:
            check_qat(weights=ready.model.weights, goes_on=start is not None, sizes=data.training_sizes)
            spec = quantized_spec(spec, ready.qat, start=start)
        if start is not None:
            check_resumed(start, spec, continuity, processes=trainer.world_size)
        sizes = data.training_sizes
        module = TrainingModule(spec, settings=ready.model, task=task, plan=plan, sizes=sizes, seed=config.seed)
        if ready.qat is not None and start is None:
            rank_zero_only(tell)(begin_qat(module.model, data.calibration_batches(ready.qat.images)))
        if config.monitor == "val_loss" and not task.has_validation_loss:
            others = ", ".join(name for name in task.monitors if name != "val_loss")
            raise InputError(f"monitor={config.monitor}: the head {spec.head} has no validation loss; use {others}")
        with removing_unused_logs(out / LOGS), _naming_damage(start, checkpoints=checkpoints, begin=begin):
            tracked.open()
            fit(trainer, module, data, start=start, asked_by=lambda: last.asked_by)
            if start is not None and not begin.has_begun:
                steps = f"{trainer.global_step} of {plan.steps} steps are done"
                _tell_finished(out, best, start=start, steps=steps, tell=tell)
    return _finish(config, best, start=start)


def _naming_damage(
    start: Resumable | None, *, checkpoints: AtomicCheckpointIO, begin: Begin
) -> AbstractContextManager[None]:
    """Name the checkpoint in errors from the time when Lightning has read it to the beginning of the training."""
    if start is None:
        return nullcontext()
    return naming_damage(start.path, is_restoring=lambda: checkpoints.has_loaded and not begin.has_begun)


def _tell_finished(out: Path, best: SaveBest, *, start: Resumable, steps: str, tell: Tell) -> None:
    """Tell that there was nothing left to train.

    Raises:
        InputError: if the finished training lies in another folder, so that there is nothing to write into OUT.
    """
    finished = f"{start.path}: this training is finished, {steps}"
    if lies_in(out, start):
        rank_zero_only(tell)(finished)
        return
    path = start.path.parent / Path(best.best_model_path).name
    raise InputError(f"--resume {finished}" + (f"; its best checkpoint is {path}" if path.is_file() else ""))


def _skipped_images(data: TrainingData) -> SkippedImages:
    settings = data.settings
    source = name_source(settings.source)
    return SkippedImages(max_broken=settings.max_broken, source=source, train_images=data.train_images)


@rank_zero_only
def _tell_data(data: TrainingData, *, source: Source, tell: Tell) -> None:
    """Tell what the run sees of its data, and what it does not."""
    first, *others = data.summary
    for line in (f"{name_source(source)}: {first}", *others):
        tell(line)


def _plan(trainer: Trainer, data: TrainingData, *, start: Resumable | None) -> RunPlan:
    position = Position() if start is None else start.position
    batches = data.batches_per_epoch(processes=trainer.world_size)
    plan = plan_run(trainer, batch_size=data.settings.batch_size, batches=batches, start=position)
    align_validation(trainer, batches=plan.batches)
    return plan


def _finish(config: Namespace, best: SaveBest, *, start: Resumable | None) -> Run:
    out = Path(config.out)
    run = Run(
        best=out / Path(best.best_model_path).name,
        # A run whose steps ended with its first validation may have been killed before it wrote `last.ckpt`.
        last=out / LAST if start is None or (out / LAST).is_file() else start.path,
        average=out / AVERAGE if config.keep_best > 1 else None,
        metrics=_newest_metrics(out),
        config=out / CONFIG,
        monitor=config.monitor,
        value=float("nan") if best.best_model_score is None else float(best.best_model_score),
    )
    if not run.best.is_file():
        if start is not None and (out / LAST).is_file():
            raise InputError(f"--out {out}: this training is finished, but its {BEST} is not there any more")
        often = "--trainer.val_check_interval BATCHES validates more often"
        raise InputError(f"--out {out}: holds no {BEST}, because no epoch was both trained and validated; {often}")
    if run.average is not None:
        _write_average(best, run.average)
    return run


def _newest_metrics(out: Path) -> Path | None:
    """Return the metrics of the newest start that logged anything; a run that was finished already logs nothing."""
    numbered = ((path.parent.name.removeprefix("version_"), path) for path in out.glob(f"{LOGS}/version_*/{METRICS}"))
    starts = {int(number): path for number, path in numbered if number.isdecimal()}
    return starts[max(starts)] if starts else None


def _spec(settings: ModelSettings, task: TrainingTask, data: TrainingData) -> NetworkSpec:
    return NetworkSpec(
        task=task.name,
        backbone=settings.name,
        # With lists instead of tuples, as in a checkpoint: a run that goes on compares the specs.
        backbone_kwargs=to_plain(settings.kwargs or {}),
        head=settings.head or task.head,
        head_kwargs=to_plain(settings.head_kwargs or {}),
        labels=tuple(data.labels),
        preprocessing=data.settings.preprocessing,
    )


def _without_weights(config: Namespace) -> Namespace:
    """Return a configuration without initial weights. A run that goes on does not need them, and they may be gone."""
    changed = config.clone()
    changed.model.weights = None
    return changed


def _best(config: Namespace, task: TrainingTask) -> SaveBest:
    return SaveBest(
        config.out,
        filename=Path(BEST).stem if config.keep_best == 1 else "best-{epoch}-{step}",
        monitor=config.monitor,
        mode=_mode(config, task),
        save_top_k=config.keep_best,
        auto_insert_metric_name=False,
        save_on_train_epoch_end=False,  # save after every validation; an epoch may have several or none
        enable_version_counter=False,
    )


def _mode(config: Namespace, task: TrainingTask) -> str:
    """Return whether a better result is larger, `"max"`, or smaller, `"min"`."""
    return "max" if task.monitors[config.monitor] else "min"


@rank_zero_only
def _write_average(best: SaveBest, path: Path) -> None:
    ranked = sorted(best.best_k_models, key=lambda path: float(best.best_k_models[path]), reverse=best.mode == "max")
    average_checkpoints([Path(path) for path in ranked], path)


def _callbacks(config: Namespace, ema: AveragingSettings | None, *, task: TrainingTask, tell: Tell) -> list[Callback]:
    threads = [] if config.threads is None else [Threads(config.threads)]
    averaging = [] if ema is None else [WeightEMA(ema)]
    metrics = StepMetrics()
    display = partial(progress_display, metrics, monitors=sorted(task.monitors), tell=tell)
    progress = [] if config.trainer.enable_progress_bar is False else [display()]
    if config.patience is not None:
        # A checkpoint holds it, and cannot hold the parser's own kinds of numbers.
        patience = int(config.patience)
        progress.append(Patience(patience, monitor=config.monitor, mode=_mode(config, task), tell=tell))
    return [*threads, StopOnNaN(Path(config.out)), *averaging, metrics, *progress]


def _logs(out: Path) -> list[Logger]:
    table = CSVLogger(out, name=LOGS)
    return [table, TensorBoardLogger(out, name=LOGS, version=table.version)]
