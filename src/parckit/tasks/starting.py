"""The start of a training: its checkpoint, the settings that must stay the same, and the training that it replaces."""

import math
import shutil
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from itertools import zip_longest
from pathlib import Path
from typing import cast, final

from jsonargparse import Namespace
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.utilities import rank_zero_only

from parckit.contract import (
    AVERAGE,
    CONFIG,
    LAST,
    PREVIOUS,
    InputError,
    NetworkSpec,
    Preprocessing,
    Quantization,
    removing_new_folders,
    replacing,
)
from parckit.options import Parser
from parckit.tasks.continuity import TRAIN_IMAGES, Continuity
from parckit.tasks.module import TrainingModule
from parckit.tasks.resumable import ACCUMULATED, Resumable, find_best, find_resumable, open_resumable
from parckit.tasks.weights import expected_preprocessing

AUTO = "auto"


def find_start(config: Namespace) -> Resumable | None:
    """Return the checkpoint that the training goes on from; None for a new training.

    Raises:
        InputError: if no training can go on from the checkpoint, or OUT holds a training that may not be replaced.
    """
    out = Path(config.out)
    if config.resume == AUTO and config.overwrite:
        raise InputError("--resume auto: goes on with the training that --overwrite replaces; use only one of them")
    if config.resume == AUTO:
        start = find_resumable(out)
    elif config.resume is not None:
        with _named_resume():
            start = open_resumable(Path(config.resume))
    else:
        start = None
    held = _held(out)
    if held and not config.overwrite and not lies_in(out, start):
        go_on = f"go on with --resume {held[0]}, or give" if held[0].name != AVERAGE else "replace it with"
        raise InputError(f"--out {out}: holds a training; {go_on} --overwrite")
    return start


def match_weights(config: Namespace, *, start: Resumable | None) -> None:
    """Set mean, std and channel order of the images to what the weights expect, if there are any.

    Raises:
        InputError: if the weights do not exist.
    """
    if start is not None:
        expected = start.spec.preprocessing
    elif config.model.weights is not None:
        kwargs = config.model.kwargs or {}
        expected = expected_preprocessing(config.model.name, kwargs, weights=config.model.weights)
    else:
        return
    for name in ("mean", "std", "channel_order"):
        config.data.preprocessing[name] = getattr(expected, name)


@contextmanager
def _named_resume() -> Generator[None]:
    try:
        yield
    except InputError as error:
        raise InputError(f"--resume {error}") from error


@contextmanager
def removing_unused_logs(logs: Path) -> Generator[None]:
    """If the body fails before the training begins, remove the log that its loggers began, and folders made for it.

    `Begin` writes `config.yaml` when training begins. If that file is unchanged, training never began.
    """
    before, config = {*logs.glob("*")}, logs.parent / CONFIG
    written_at = _modified_at(config)
    with removing_new_folders(logs):
        try:
            yield
        except BaseException:
            unused = {*logs.glob("*")} - before if _modified_at(config) == written_at else ()
            for log in unused:
                shutil.rmtree(log, ignore_errors=True)
            raise


def _modified_at(path: Path) -> int | None:
    return path.stat().st_mtime_ns if path.is_file() else None


def lies_in(folder: Path, start: Resumable | None) -> bool:
    """Return whether the checkpoint that the run goes on from lies in a folder."""
    return start is not None and start.path.resolve().parent == folder.resolve()


def runs_go_on(config: Namespace, *, start: Resumable | None) -> bool:
    """Return whether OUT's training goes on, or was killed before its first checkpoint, so that its runs go on too."""
    out = Path(config.out)
    return lies_in(out, start) or (start is None and not _held(out))


def _held(out: Path) -> list[Path]:
    """Return the checkpoints and weights in the folder of a training; those that it can go on from come first."""
    return [*out.glob(LAST), *out.glob(PREVIOUS), *find_best(out), *out.glob(AVERAGE)]


def make_continuity(config: Namespace, *, train_images: int) -> Continuity:
    """Return the settings that must equal the checkpoint's when a run goes on."""
    optimizer, distillation = config.model.optimizer.as_dict(), config.task.get("distillation")
    # Not the learning rate: it is set at every step.
    fixed = ("name", "weight_decay", "decay_all", "layer_decay", "options")
    teacher = distillation.teacher if distillation is not None and distillation.features > 0 else None
    sizes = config.data.sizes
    return Continuity(
        always={
            **{f"--model.optimizer.{name}": optimizer[name] for name in fixed},
            "--model.freeze": config.model.freeze,
            "--monitor": config.monitor,
            "--ema": None if config.ema is None else "given",
            "--qat": None if config.qat is None else {**config.qat.as_dict(), "images": None},
            "--task.distillation.features of the teacher": teacher,
            TRAIN_IMAGES: train_images,
        },
        within_epochs={
            "--seed": config.seed,
            "--data.batch_size": config.data.batch_size,
            "--data.repeats": config.data.repeats,
            "--data.sampling": config.data.sampling,
            "--data.sizes": None if sizes is None else sizes.as_dict(),
            ACCUMULATED: config.trainer.accumulate_grad_batches,
        },
    )


def check_resumed(start: Resumable, spec: NetworkSpec, continuity: Continuity, *, processes: int) -> None:
    """Check that a training can go on from a checkpoint.

    Raises:
        InputError: if it cannot; names the file.
    """
    with _named_resume():
        if differences := _differences(start.spec, spec):
            raise InputError(f"{start.path}: goes on only with {'; '.join(differences)}")
        continuity.check(start, processes=processes)


_OPTIONS = {
    "task": "--task.name",
    "backbone": "--model.name",
    "backbone_kwargs": "--model.kwargs",
    "head": "--model.head",
    "head_kwargs": "--model.head_kwargs",
    "quantization": "--qat",
}
"""Field of a NetworkSpec -> the option that sets it."""


def _differences(trained: NetworkSpec, wanted: NetworkSpec) -> list[str]:
    """Return what differs between the network of a checkpoint and that of this training."""
    names = [field.name for field in fields(NetworkSpec) if field.name not in ("labels", "preprocessing")]
    pairs = [(_OPTIONS.get(name, name), getattr(trained, name), getattr(wanted, name)) for name in names]
    for name in (field.name for field in fields(Preprocessing)):
        values = (getattr(spec.preprocessing, name) for spec in (trained, wanted))
        pairs.append((f"--data.preprocessing.{name}", *values))
    differences = [f"{name} {_shown(former)}, not {_shown(new)}" for name, former, new in pairs if former != new]
    if trained.labels != wanted.labels:
        both = enumerate(zip_longest(trained.labels, wanted.labels))
        number, (former, new) = next((number, pair) for number, pair in both if pair[0] != pair[1])
        counts = f"its {len(trained.labels)} classes, not the {len(wanted.labels)} of the data"
        differences.append(f"{counts} (class {number} is {former!r}, not {new!r})")
    return differences


def _shown(value: object) -> object:
    if isinstance(value, Quantization):
        return "given"
    return dict(cast("Mapping[str, object]", value)) if isinstance(value, Mapping) else value


@final
class Begin(Callback):
    """Replace the training that OUT holds at the last moment, after everything that could refuse the new one.

    Args:
        parser: writes the configuration.
        config: the parsed recipe.
        start: the checkpoint that the run goes on from; None for a new run.

    Attributes:
        has_begun: whether the run had anything left to train.
    """

    def __init__(self, parser: Parser, config: Namespace, *, start: Resumable | None) -> None:
        self._parser = parser
        self._config = config
        self._start = start
        self.has_begun = False

    def on_train_start(self, trainer: Trainer, pl_module: TrainingModule) -> None:  # pyright: ignore[reportIncompatibleMethodOverride]
        """Check that the run reaches a validation, and prepare OUT.

        Raises:
            InputError: if the run ends before the first validation.
        """
        self.has_begun = True
        _check_validated(trainer, steps=pl_module.plan.steps)
        _prepare(self._parser, self._config, start=self._start)


def _check_validated(trainer: Trainer, *, steps: int) -> None:
    """Check that the run reaches a validation. Without one there is no best checkpoint.

    Args:
        trainer: has its loaders already.
        steps: number of optimizer steps of the run.

    Raises:
        InputError: if the run ends before the first validation.
    """
    epoch, every = trainer.num_training_batches, trainer.check_val_every_n_epoch
    due = cast("float | None", trainer.val_check_batch)
    if due is None or math.isinf(due):
        return  # Validations that follow the clock are known only at the end.
    accumulated, whole_epochs = trainer.accumulate_grad_batches, 0 if every is None else every - 1
    first = whole_epochs * math.ceil(epoch / accumulated) + math.ceil(due / accumulated)
    if steps < first:
        raise InputError(f"--trainer: the run ends after {steps} steps, before the first validation at {first}")


@rank_zero_only
def _prepare(parser: Parser, config: Namespace, *, start: Resumable | None) -> None:
    """Delete the training that OUT holds, unless this training goes on with it, and write the configuration."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for path in () if lies_in(out, start) else _held(out):
        path.unlink()
    saved = config.clone()
    for name in ("overwrite", "resume"):  # they are about this start, not about the training
        saved.pop(name)
    with replacing(out / CONFIG) as temporary:
        parser.save(saved, temporary)
