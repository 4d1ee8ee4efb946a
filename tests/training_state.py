"""What two trainings must have in common to be the same."""

from pathlib import Path

import torch
from torch import Tensor

_STATE = ("epoch", "global_step", "state_dict", "current_model_state", "averaging_state", "optimizer_states", "parckit")


def state_of(checkpoint: Path) -> dict[str, object]:
    content = torch.load(checkpoint, weights_only=True)
    return {name: content[name] for name in _STATE}


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
