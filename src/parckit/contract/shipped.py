"""Weights that come with the package: checkpoints of networks for all tasks, by name."""

from importlib.resources import files
from pathlib import Path

WEIGHTS = Path(str(files("parckit"))) / "weights"


def shipped_weights(name: str) -> Path | None:
    """Return the checkpoint of a name such as `parcnet_xs.cifar10`; None if no such weights come with the package."""
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.parent == WEIGHTS and path.is_file() else None
