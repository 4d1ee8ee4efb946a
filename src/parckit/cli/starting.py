"""Where `parckit train` begins: at nothing or at a checkpoint; what it may not change, and what it replaces."""

from collections.abc import Sized
from pathlib import Path
from typing import cast

from jsonargparse import Namespace
from lightning.pytorch.utilities import rank_zero_only

from parckit.cli.parsing import Parser
from parckit.contract import InputError, ModelSpec
from parckit.tasks import LAST, PREVIOUS, ClassifyData, Continuity, check_resumable, find_resumable

AUTO = "auto"
AVERAGE = "average.safetensors"


def find_start(config: Namespace) -> Path | None:
    """Return the checkpoint to go on from; None to begin.

    Raises:
        InputError: if OUT holds a training that is neither gone on with nor to be replaced, or all its checkpoints are
            damaged.
    """
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


def make_continuity(config: Namespace, data: ClassifyData) -> Continuity:
    """Return what has to stay as it is in a run that goes on."""
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


def check_resumed(path: Path, spec: ModelSpec, continuity: Continuity, *, processes: int) -> None:
    """Check that a training can go on from a checkpoint.

    Raises:
        InputError: if it cannot; names the file.
    """
    try:
        continuity.check(path, check_resumable(path, spec), processes=processes)
    except InputError as error:
        raise InputError(f"--resume {error}") from error


@rank_zero_only
def prepare(parser: Parser, config: Namespace, *, resume: Path | None) -> None:
    """Remove the training that OUT holds, unless this one goes on with it, and write down the configuration."""
    out = Path(config.out)
    out.mkdir(parents=True, exist_ok=True)
    for path in () if _lies_in(out, resume) else _held(out):
        path.unlink()
    kept = config.clone()
    for name in ("overwrite", "resume"):  # said of this start, not of the training
        kept.pop(name)
    parser.save(kept, out / "config.yaml", overwrite=True)
