"""To which stage every weight of a network belongs."""

from typing import cast

from timm.models._manipulate import group_with_matcher
from torch import nn

from parckit.contract import InputError


def stages_of(model: nn.Module) -> tuple[dict[str, int], int]:
    """Return the stage of every parameter and buffer by its name, and the number of stages.

    Stages are counted from 1. 0 is what comes before them, one more than their number is what follows them.

    Raises:
        InputError: if the model does not say what its stages are.
    """
    matcher = getattr(model, "group_matcher", None)
    if matcher is None:
        raise InputError("has no group_matcher, so its stages are unknown")
    try:
        groups_by = matcher(coarse=True)
    except AssertionError as error:
        raise InputError(f"its group_matcher defines no stages: {error}") from error
    names = [name for named in (model.named_parameters(), model.named_buffers()) for name, _ in named]
    # No pattern matches the empty name, so timm puts it into the group of everything after the last stage.
    named = iter([(name, None) for name in (*names, "")])
    groups = cast("dict[str, int]", group_with_matcher(named, groups_by, reverse=True))
    return groups, groups.pop("") - 1
