"""Finding the checkpoint that a training can go on from."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

from lightning.pytorch.utilities import rank_zero_only

from parckit.contract import LAST, PREVIOUS, InputError, NetworkSpec
from parckit.networks import read_training
from parckit.tasks.checkpoints import SETTINGS_KEY
from parckit.tasks.former import translate_settings
from parckit.tasks.plan import Position, position_of

_log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class Resumable:
    """A checkpoint that a training can go on from.

    Attributes:
        path: its file.
        spec: of the trained network.
        position: how far the training has come.
        settings: as `Continuity` wrote them.
    """

    path: Path
    spec: NetworkSpec
    position: Position
    settings: Mapping[str, object]


def find_resumable(folder: Path) -> Resumable | None:
    """Return the newest whole checkpoint of a training in a folder; None if there is no checkpoint at all.

    A damaged one is passed over with a warning that names it.

    Raises:
        InputError: if all are damaged.
    """
    candidates = [folder / name for name in (LAST, PREVIOUS) if (folder / name).is_file()]
    for path in candidates:
        try:
            return _read_resumable(path)
        except InputError as error:
            rank_zero_only(_log.warning)("refused %s", error)
    if candidates:
        raise InputError(f"{folder}: all its checkpoints are damaged: {', '.join(path.name for path in candidates)}")
    return None


def open_resumable(path: Path) -> Resumable:
    """Read a checkpoint that a training is to go on from.

    Raises:
        InputError: if the file is missing or damaged, and which one may serve instead; or if it holds weights alone.
    """
    try:
        return _read_resumable(path)
    except InputError as error:
        before = path.with_name(PREVIOUS)
        if path.name == LAST and _is_whole(before):
            raise InputError(f"{error}; the one before it is whole: {before}") from error
        raise


def _read_resumable(path: Path) -> Resumable:
    spec, checkpoint = read_training(path)
    if "optimizer_states" not in checkpoint:
        raise InputError(f"{path}: holds weights alone, not the state of a training")
    settings = translate_settings(cast("Mapping[str, object]", checkpoint.get(SETTINGS_KEY, {})))
    position = position_of(cast("Mapping[str, object]", checkpoint["loops"]))
    return Resumable(path=path, spec=spec, position=position, settings=settings)


def _is_whole(path: Path) -> bool:
    try:
        _read_resumable(path)
    except InputError:
        return False
    return True
