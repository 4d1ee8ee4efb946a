"""Layers that run in training only."""

from torch import nn


class TrainingOnly(nn.Sequential):
    """Layers that the network's `forward` never runs, such as an auxiliary head.

    `remove_training_only` takes them out. A network whose attribute they are must accept None in their place.
    """


def remove_training_only(model: nn.Module) -> None:
    """Set every attribute of a model that is a `TrainingOnly` to None."""
    for module in [*model.modules()]:
        for name, child in [*module.named_children()]:
            if isinstance(child, TrainingOnly):
                setattr(module, name, None)
