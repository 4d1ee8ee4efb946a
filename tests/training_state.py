"""What two trainings must have in common to be the same."""

from pathlib import Path

import torch
from torch import Tensor

_OWN = ("loops", "callbacks")
"""What a checkpoint says of its run: how often it began, and where its folder is."""


def loops_at(*, epochs: int, batches: int) -> dict[str, object]:
    """Return the state of Lightning's loops after so many whole epochs and batches of the next one."""
    begun = {"ready": epochs + (batches > 0), "processed": epochs}
    return {
        "fit_loop": {
            "epoch_progress": {"current": begun},
            "epoch_loop.batch_progress": {"current": {"ready": batches}},
        }
    }


def state_of(checkpoint: Path) -> dict[str, object]:
    """Return all else: weights, averages, optimizers, the scaler of half precision, the step, settings."""
    content = torch.load(checkpoint, weights_only=True)
    return {name: content[name] for name in content if name not in _OWN}


def assert_same(one: object, other: object) -> None:
    """Compare nested dicts and lists of tensors, to the last bit."""
    if isinstance(one, dict):
        assert one.keys() == other.keys()
        for key in one:
            assert_same(one[key], other[key])
    elif isinstance(one, list | tuple):
        for left, right in zip(one, other, strict=True):
            assert_same(left, right)
    else:
        assert torch.equal(one, other) if isinstance(one, Tensor) else one == other
