"""Settings that must equal the checkpoint's when a training goes on."""

import json
from collections.abc import Mapping
from typing import final

from lightning.pytorch import Callback, LightningModule, Trainer

from parckit.contract import InputError
from parckit.tasks.checkpoints import SETTINGS_KEY
from parckit.tasks.resumable import Resumable

TRAIN_IMAGES = "a number of training images of"
"""Key of the number of training images in a checkpoint: what 0.1.0 called it."""

_PROCESSES = "processes"


@final
class Continuity(Callback):
    """Write settings into every checkpoint, and compare them when a run goes on from a checkpoint.

    Args:
        always: name of the option -> setting that must always equal the checkpoint's.
        within_epochs: the same for settings that must equal the checkpoint's only if it was written inside an epoch:
            they decide which images remain in the epoch. The number of processes is one of them too.
    """

    def __init__(self, *, always: Mapping[str, object], within_epochs: Mapping[str, object]) -> None:
        self._always = _plain(always)
        self._within_epochs = _plain(within_epochs)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, object]) -> None:
        """Add the settings to a checkpoint."""
        del pl_module
        checkpoint[SETTINGS_KEY] = {**self._always, **self._within_epochs, _PROCESSES: trainer.world_size}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Let a run that goes on from the end of an epoch begin with the next epoch.

        If the run is limited in steps, Lightning would go through the finished epoch once more, without any batch.
        """
        del pl_module
        loop = trainer.fit_loop
        if not loop.restarted_on_epoch_end:
            return
        loop.epoch_progress.increment_completed()
        loop._restarting = False  # pyright: ignore[reportPrivateUsage] - the property cannot be set in such a run
        loop.epoch_loop.restarting = False
        loop.reset_restart_stage()
        loop.epoch_loop.reset_restart_stage()

    def check(self, resumed: Resumable, *, processes: int) -> None:
        """Compare the settings with those of the checkpoint.

        Raises:
            InputError: for the first setting that differs.
        """
        trained = resumed.settings
        is_within = resumed.position.batches > 0
        compared = {**self._always, **({**self._within_epochs, _PROCESSES: processes} if is_within else {})}
        for name, value in compared.items():
            if trained.get(name, value) != value:
                if name == TRAIN_IMAGES:
                    raise InputError(
                        f"{resumed.path}: was trained on {trained[name]} images, the data now have {value}"
                    )
                why = "was written inside an epoch and goes on" if name not in self._always else "goes on"
                expected = f"{name} {_shown(trained[name])}, not {_shown(value)}"
                raise InputError(f"{resumed.path}: {why} only with {expected}")


def _plain(settings: Mapping[str, object]) -> Mapping[str, object]:
    """Return settings as plain JSON values. A checkpoint with the parser's number types would need code to be read."""
    return json.loads(json.dumps(settings))


def _shown(value: object) -> object:
    return "null" if value is None else value
