"""What a training has to keep when it goes on from a checkpoint."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import cast, final

from lightning.pytorch import Callback, LightningModule, Trainer

from parckit.contract import InputError

_KEY = "parckit_settings"
"""Where a checkpoint keeps the settings, beside the model's spec."""
_PROCESSES = "processes"


@final
class Continuity(Callback):
    """Write settings into every checkpoint, and compare those of a run that goes on from one.

    Args:
        always: that the saved state belongs to, by the names of their options.
        within_epochs: that decide which images are left of an epoch; the number of processes is another one.
    """

    def __init__(self, *, always: Mapping[str, object], within_epochs: Mapping[str, object]) -> None:
        self._always = _plain(always)
        self._within_epochs = _plain(within_epochs)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Add the settings."""
        del pl_module
        checkpoint[_KEY] = {**self._always, **self._within_epochs, _PROCESSES: trainer.world_size}

    def check(self, path: Path, checkpoint: Mapping[str, object], *, processes: int) -> None:
        """Compare what a checkpoint was trained with.

        Raises:
            InputError: for the first setting that is another.
        """
        trained = cast("Mapping[str, object]", checkpoint.get(_KEY, {}))
        within = _is_within_epoch(checkpoint)
        compared = {**self._always, **({**self._within_epochs, _PROCESSES: processes} if within else {})}
        for name, value in compared.items():
            if trained.get(name, value) != value:
                only = "was written before its epoch's end and goes on" if name not in self._always else "goes on"
                raise InputError(f"{path}: {only} only with {name} {_shown(trained[name])}, not {_shown(value)}")


def _is_within_epoch(checkpoint: Mapping[str, object]) -> bool:
    """Return whether an epoch is begun and not done; `best.ckpt`, written by its validation, is within it too."""
    loops = cast("dict[str, dict[str, dict[str, dict[str, int]]]]", checkpoint["loops"])
    epochs = loops["fit_loop"]["epoch_progress"]["current"]
    return epochs["ready"] > epochs["processed"]


def _plain(settings: Mapping[str, object]) -> Mapping[str, object]:
    """Return them as JSON has them: the parser's own kinds of numbers could not be read without executing code."""
    return json.loads(json.dumps(settings))


def _shown(value: object) -> object:
    return "null" if value is None else value
