"""Where a training begins: at nothing or at a checkpoint; what it may not change, and what it replaces."""

import math
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

from jsonargparse import Namespace
from lightning.pytorch import Trainer
from lightning.pytorch.utilities import rank_zero_only

from parckit.contract import AVERAGE, CONFIG, LAST, PREVIOUS, InputError, NetworkSpec
from parckit.options import Parser
from parckit.tasks.continuity import Continuity
from parckit.tasks.resumable import Resumable, find_resumable, open_resumable
from parckit.tasks.weights import expected_preprocessing

AUTO = "auto"


def find_start(config: Namespace) -> Resumable | None:
    """Return the checkpoint to go on from; None to begin.

    Raises:
        InputError: if OUT holds a training that is neither gone on with nor to be replaced, or the checkpoint cannot be
            gone on from; names the file.
    """
    out = Path(config.out)
    if config.resume == AUTO and config.overwrite:
        raise InputError("--resume auto: goes on with the training that --overwrite replaces; give one of them")
    if config.resume == AUTO:
        start = find_resumable(out)
    elif config.resume is not None:
        with _named_resume():
            start = open_resumable(Path(config.resume))
    else:
        start = None
    held = _held(out)
    if held and not config.overwrite and not _lies_in(out, start):
        raise InputError(f"--out {out}: holds a training; go on with --resume {held[0]}, or give --overwrite")
    return start


def match_weights(config: Namespace, *, start: Resumable | None) -> None:
    """Give the images of a configuration the mean, std and channel order that the weights expect.

    Raises:
        InputError: if there are no such weights.
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


def _lies_in(folder: Path, start: Resumable | None) -> bool:
    return start is not None and start.path.resolve().parent == folder.resolve()


def _held(out: Path) -> list[Path]:
    """Return what a training left in its folder, what it can go on from first."""
    return [*out.glob(LAST), *out.glob(PREVIOUS), *sorted(out.glob("best*.ckpt")), *out.glob(AVERAGE)]


def make_continuity(config: Namespace, *, train_images: int) -> Continuity:
    """Return the settings that must equal the checkpoint's when a run goes on."""
    optimizer, distillation = config.model.optimizer.as_dict(), config.task.get("distillation")
    belonging = ("name", "weight_decay", "decay_all", "layer_decay", "options")  # the rate is set anew at every step
    teacher = distillation.teacher if distillation is not None and distillation.features > 0 else None
    sizes = config.data.sizes
    return Continuity(
        always={
            **{f"--model.optimizer.{name}": optimizer[name] for name in belonging},
            "--model.freeze": config.model.freeze,
            "--ema": None if config.ema is None else "given",
            "--task.distillation.features of the teacher": teacher,
            "a number of training images of": train_images,
        },
        within_epochs={
            "--seed": config.seed,
            "--data.batch_size": config.data.batch_size,
            "--data.repeats": config.data.repeats,
            "--data.sampling": config.data.sampling,
            "--data.sizes": None if sizes is None else sizes.as_dict(),
            "--trainer.accumulate_grad_batches": config.trainer.accumulate_grad_batches,
        },
    )


def check_resumed(start: Resumable, spec: NetworkSpec, continuity: Continuity, *, processes: int) -> None:
    """Check that a training can go on from a checkpoint.

    Raises:
        InputError: if it cannot; names the file.
    """
    with _named_resume():
        if start.spec != spec:
            raise InputError(f"{start.path}: its model, labels or preprocessing are not those of this training")
        continuity.check(start, processes=processes)


def check_validated(trainer: Trainer, *, steps: int) -> None:
    """Check that the run comes to a validation, by which the best checkpoint is chosen.

    Args:
        trainer: its loaders are known.
        steps: optimizer steps of the run.

    Raises:
        InputError: if it ends before.
    """
    epoch, every = trainer.num_training_batches, trainer.check_val_every_n_epoch
    due = cast("float | None", trainer.val_check_batch)
    if due is None or math.isinf(due):
        return  # by the clock: known at the end
    accumulated, whole_epochs = trainer.accumulate_grad_batches, 0 if every is None else every - 1
    first = whole_epochs * math.ceil(epoch / accumulated) + math.ceil(due / accumulated)
    if steps < first:
        raise InputError(f"--trainer: the run ends after {steps} steps, before the first validation at {first}")


@rank_zero_only
def prepare(parser: Parser, config: Namespace, *, start: Resumable | None) -> None:
    """Remove the training that OUT holds, unless this one goes on with it, and write down the configuration."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for path in () if _lies_in(out, start) else _held(out):
        path.unlink()
    kept = config.clone()
    for name in ("overwrite", "resume"):  # said of this start, not of the training
        kept.pop(name)
    parser.save(kept, out / CONFIG, overwrite=True)
