from pathlib import Path

import pytest
from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningModule, Trainer

from checkpoint_files import content
from parckit.contract import InputError
from parckit.tasks import AtomicCheckpointIO, Continuity, Resumable, open_resumable
from training_state import loops_at

PATH = Path("last.ckpt")


def continuity(*, optimizer: str = "adamw", seed: int = 0, sides: tuple[int, ...] = (24, 32)) -> Continuity:
    return Continuity(always={"--optimizer": optimizer}, within_epochs={"--seed": seed, "--sizes": {"sides": sides}})


def saved(folder: Path, *, batches: int) -> Resumable:
    """Return the checkpoint of a training that is so many batches inside an epoch, as it is read from a file."""
    checkpoint = {**content(), "loops": loops_at(epochs=2, batches=batches)}
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    # A number as the command line has it, of a class that a file must not name.
    continuity(seed=PositiveInt(1)).on_save_checkpoint(trainer, LightningModule(), checkpoint)
    AtomicCheckpointIO().save_checkpoint(checkpoint, folder / PATH)
    return open_resumable(folder / PATH)


CHANGES = [
    ({"seed": 2}, 1, "--seed 1, not 2"),
    ({"seed": 1, "sides": (32,)}, 1, r"--sizes {'sides': \[24, 32\]}, not {'sides': \[32\]}"),
    ({"seed": 1}, 2, "processes 1, not 2"),
]


@pytest.mark.parametrize(("changed", "processes", "told"), CHANGES)
def test_what_decides_the_order_may_change_between_epochs_only(changed, processes, told, tmp_path):
    with pytest.raises(InputError, match=f"{PATH}: was written inside an epoch and goes on only with {told}$"):
        continuity(**changed).check(saved(tmp_path, batches=5), processes=processes)
    continuity(**changed).check(saved(tmp_path, batches=0), processes=processes)


@pytest.mark.parametrize("batches", [0, 5])
def test_what_the_state_belongs_to_may_never_change(batches, tmp_path):
    checkpoint = saved(tmp_path, batches=batches)
    continuity(seed=1).check(checkpoint, processes=1)
    with pytest.raises(InputError, match=f"{PATH}: goes on only with --optimizer adamw, not sgd$"):
        continuity(seed=1, optimizer="sgd").check(checkpoint, processes=1)
