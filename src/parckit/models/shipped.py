"""Weights that come with the package."""

from pathlib import Path

WEIGHTS = Path(__file__).parent / "weights"


def shipped_weights(name: str) -> Path | None:
    """Return the checkpoint of a model with a tag, such as `parcnet_xs.cifar10`, if it comes with the package."""
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.parent == WEIGHTS and path.is_file() else None
