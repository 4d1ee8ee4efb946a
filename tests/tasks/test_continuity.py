from pathlib import Path

import pytest
import torch
from jsonargparse.typing import PositiveInt
from lightning.pytorch import LightningModule, Trainer

from parckit.contract import InputError
from parckit.tasks import Continuity

PATH = Path("last.ckpt")


def continuity(*, optimizer: str = "adamw", seed: int = 0, sides: tuple[int, ...] = (24, 32)) -> Continuity:
    return Continuity(always={"--optimizer": optimizer}, within_epochs={"--seed": seed, "--sizes": {"sides": sides}})


def saved(folder: Path, *, processed: int) -> dict[str, object]:
    """Return the checkpoint of an epoch that is begun, as it is read from a file."""
    progress = {"ready": 3, "processed": processed}
    checkpoint: dict[str, object] = {"loops": {"fit_loop": {"epoch_progress": {"current": progress}}}}
    trainer = Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False)
    # A number as the command line has it, of a class that a file must not name.
    continuity(seed=PositiveInt(1)).on_save_checkpoint(trainer, LightningModule(), checkpoint)
    torch.save(checkpoint, folder / PATH)
    return torch.load(folder / PATH, weights_only=True)


CHANGES = [
    ({"seed": 2}, 1, "--seed 1, not 2"),
    ({"seed": 1, "sides": (32,)}, 1, r"--sizes {'sides': \[24, 32\]}, not {'sides': \[32\]}"),
    ({"seed": 1}, 2, "processes 1, not 2"),
]


@pytest.mark.parametrize(("changed", "processes", "told"), CHANGES)
def test_what_decides_the_order_may_change_between_epochs_only(changed, processes, told, tmp_path):
    with pytest.raises(InputError, match=f"^{PATH}: was written before its epoch's end and goes on only with {told}$"):
        continuity(**changed).check(PATH, saved(tmp_path, processed=2), processes=processes)
    continuity(**changed).check(PATH, saved(tmp_path, processed=3), processes=processes)


@pytest.mark.parametrize("processed", [2, 3])
def test_what_the_state_belongs_to_may_never_change(processed, tmp_path):
    checkpoint = saved(tmp_path, processed=processed)
    continuity(seed=1).check(PATH, checkpoint, processes=1)
    with pytest.raises(InputError, match=f"^{PATH}: goes on only with --optimizer adamw, not sgd$"):
        continuity(seed=1, optimizer="sgd").check(PATH, checkpoint, processes=1)
