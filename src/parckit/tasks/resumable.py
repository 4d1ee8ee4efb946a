"""Find the checkpoint that a training can go on from."""

import logging
import textwrap
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lightning.pytorch.utilities import rank_zero_only
from torch.cuda import OutOfMemoryError

from parckit.contract import BEST, LAST, PREVIOUS, InputError, NetworkSpec, ParckitError
from parckit.networks import read_training
from parckit.tasks.checkpoints import SETTINGS_KEY
from parckit.tasks.former import translate_settings
from parckit.tasks.plan import Position, is_within_step, position_of

_log = logging.getLogger(__name__)

_PARTS = {"callbacks": dict, "loops": dict, "lr_schedulers": list, "optimizer_states": list}
"""Parts of a training's state, and their types."""

_COUNTS = {"ready", "started", "processed", "completed"}
"""Counts in the state of Lightning's loops."""

_AVERAGING = {"averaging_state", "current_model_state"}
"""Parts of the state of a training that averages weights."""

_REASON_CHARS = 200
"""Characters of an error's reason that a message shows."""

ACCUMULATED = "--trainer.accumulate_grad_batches"
"""Name of the setting in a checkpoint that says how many batches an optimizer step has."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumable:
    """A checkpoint that a training can go on from.

    Attributes:
        path: the file.
        spec: the trained network.
        position: how far the training has come.
        settings: the settings that `Continuity` wrote.
    """

    path: Path
    spec: NetworkSpec
    position: Position
    settings: Mapping[str, object]


def find_resumable(folder: Path) -> Resumable | None:
    """Return the newest intact checkpoint of a training in a folder; None if there is no checkpoint.

    A run that was killed before its first `last.ckpt` has only best checkpoints. A damaged checkpoint is skipped with a
    warning that names it.

    Raises:
        InputError: if no checkpoint can be used.
    """
    newest_first = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for path in newest_first:
        if resumable := _read_or_warn(path):
            return resumable
    best = find_best(folder)
    if intact := [resumable for path in best if (resumable := _read_or_warn(path))]:
        return max(intact, key=lambda resumable: (resumable.position.epochs, resumable.position.batches))
    if refused := [path.name for path in (*newest_first, *best)]:
        raise InputError(f"{folder}: no training can go on from its checkpoints: {', '.join(refused)}")
    return None


def find_best(folder: Path) -> list[Path]:
    """Return the best checkpoints in the folder of a training: `best.ckpt`, or several with a number in the name."""
    return sorted(folder.glob(f"{Path(BEST).stem}*{Path(BEST).suffix}"))


def _read_or_warn(path: Path) -> Resumable | None:
    try:
        return _read_resumable(path)
    except InputError as error:
        rank_zero_only(_log.warning)("refused %s", error)
        return None


def open_resumable(path: Path) -> Resumable:
    """Read the checkpoint that a training should go on from.

    Raises:
        InputError: if the file is missing or damaged, or holds only weights. If the checkpoint before it is intact, the
            message names it.
    """
    try:
        return _read_resumable(path)
    except InputError as error:
        before = path.with_name(PREVIOUS)
        if path.name == LAST and _is_intact(before):
            raise InputError(f"{error}; the checkpoint before it is intact: {before}") from error
        raise


@contextmanager
def naming_damage(path: Path, *, is_restoring: Callable[[], bool] = lambda: True) -> Generator[None]:
    """Turn errors that come from missing or wrong parts of a checkpoint into an `InputError` that names the file.

    Lightning takes the parts as they are, so that almost any error can come from them.

    Args:
        path: the checkpoint.
        is_restoring: whether the body is using the parts just now; errors before and after that have other reasons.

    Raises:
        InputError: if the body fails meanwhile, unless memory is full.
    """
    try:
        yield
    except (ParckitError, OSError, MemoryError, OutOfMemoryError):
        raise
    except Exception as error:
        if not is_restoring():
            raise
        reason = textwrap.shorten(f"{type(error).__name__}: {error}", _REASON_CHARS)
        raise InputError(f"{path}: damaged: its state of the training has missing or wrong parts ({reason})") from error


def _read_resumable(path: Path) -> Resumable:
    spec, checkpoint = read_training(path)
    if "optimizer_states" not in checkpoint:
        raise InputError(f"{path}: holds only weights, not the state of a training")
    with naming_damage(path):
        _check_parts(checkpoint)
        settings = translate_settings(cast("Mapping[str, object]", checkpoint.get(SETTINGS_KEY, {})))
        loops = cast("Mapping[str, object]", checkpoint["loops"])
        position = position_of(loops)
        is_partial = is_within_step(loops, accumulated=cast("int", settings.get(ACCUMULATED, 1)))
    if is_partial:
        why = "was written inside an optimizer step, and a checkpoint holds no accumulated gradients"
        raise InputError(f"{path}: {why}; go on from another checkpoint")
    return Resumable(path=path, spec=spec, position=position, settings=settings)


def _check_parts(checkpoint: Mapping[str, object]) -> None:
    """Refuse a checkpoint without a part that Lightning would do without: the run would go on, but not as it was.

    Raises:
        ValueError: if a part is missing or of another type.
    """
    for name, kind in _PARTS.items():
        if not isinstance(checkpoint.get(name), kind):
            raise ValueError(f"{name!r} is missing or of another type")  # a damaged file
    _check_counts(cast("Mapping[str, object]", checkpoint["loops"]))
    if len(cast("list[object]", checkpoint["optimizer_states"])) != 1:
        raise ValueError("a training has one optimizer")
    if len(_AVERAGING & checkpoint.keys()) == 1:
        raise ValueError(f"it has only one of {sorted(_AVERAGING)}")


def _check_counts(progress: Mapping[str, object]) -> None:
    """Check that the counts of Lightning's loops are whole numbers; it would find out only when it adds to them.

    Raises:
        ValueError: if one is something else.
    """
    for name, value in progress.items():
        if isinstance(value, Mapping):
            _check_counts(cast("Mapping[str, object]", value))
        elif name in _COUNTS and not (isinstance(value, int) and value >= 0):
            raise ValueError(f"a number of {name} batches or epochs is {value!r}")


def _is_intact(path: Path) -> bool:
    try:
        _read_resumable(path)
    except InputError:
        return False
    return True
