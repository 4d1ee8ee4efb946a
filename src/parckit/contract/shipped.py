"""Weights that come with the package: checkpoints of networks for all tasks, by name."""

from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path

WEIGHTS = Path(str(files("parckit"))) / "weights"

LICENCES: Mapping[str, str] = {
    "parcnet_xs.cifar10": (
        "Apache-2.0. parckit's authors trained the weights on CIFAR-10 (Krizhevsky, 2009), which states no licence."
    ),
    "tinydet_parcnet_xs.bccd": (
        "Apache-2.0. parckit's authors trained the weights on BCCD (MIT licence, copyright 2017 shenggan), from the "
        "weights parcnet_xs.cifar10."
    ),
    "upernet_parc_resnet10t.digit_scenes": (
        "Apache-2.0. parckit's authors trained the weights on scenes of handwritten digits (UCI, CC BY 4.0)."
    ),
}
"""Name of weights -> their licence and what they were trained on."""


def shipped_weights(name: str) -> Path | None:
    """Return the checkpoint of a name such as `parcnet_xs.cifar10`; None if no such weights come with the package."""
    path = WEIGHTS / f"{name}.safetensors"
    return path if path.parent == WEIGHTS and path.is_file() else None
