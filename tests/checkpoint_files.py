"""Small checkpoint files, as a training writes them."""

from pathlib import Path

import torch

from parckit.contract import SPEC_KEY, NetworkSpec, Preprocessing
from parckit.tasks import AtomicCheckpointIO
from training_state import loops_at

SPEC = NetworkSpec(backbone="test_parcnet", labels=("a", "b"), preprocessing=Preprocessing(size=(8, 8)))


def content(step: int = 0) -> dict[str, object]:
    """Return what `parckit train` could have saved, some 40 kB of it."""
    weights = {"model.weight": torch.full((100, 100), float(step))}
    return {
        SPEC_KEY: SPEC.to_dict(),
        "state_dict": weights,
        "optimizer_states": [{}],
        "lr_schedulers": [],
        "callbacks": {},
        "loops": loops_at(epochs=0, batches=step),
        "global_step": step,
    }


def save(folder: Path, *, steps: int, name: str = "last.ckpt") -> Path:
    for step in range(1, steps + 1):
        AtomicCheckpointIO().save_checkpoint(content(step), folder / name)
    return folder / name


def steps_in(folder: Path) -> dict[str, int]:
    """Return every file's step; that they can be read says that they are whole."""
    checkpoints = {path.name: AtomicCheckpointIO().load_checkpoint(path) for path in folder.iterdir()}
    return {name: checkpoint["global_step"] for name, checkpoint in checkpoints.items()}


def cut(path: Path, *, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path
