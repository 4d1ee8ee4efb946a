"""Keeping a part of the network as it is while the rest is trained."""

from typing import Literal

from torch import nn

from parckit.contract import InputError
from parckit.models import stages_of
from parckit.tasks.weights import classifier_prefixes

Freeze = Literal["backbone"] | int
"""`"backbone"`: everything but the classifier. A number N: the first N stages and everything before them."""


def freeze(network: nn.Module, part: Freeze, *, name: str) -> list[nn.Module]:
    """Exclude a part of a network from training.

    Args:
        network: a whole timm model.
        part: what is frozen.
        name: name of the network in errors.

    Returns:
        The largest modules that are frozen as a whole. In eval mode, their norms keep their statistics.

    Raises:
        InputError: if the network does not have as many stages, or does not say what its stages are.
    """
    frozen = _all_but_classifier(network) if part == "backbone" else _first_stages(network, int(part), name=name)
    for key, weight in network.named_parameters():
        if key in frozen:
            weight.requires_grad = False
    return _whole_modules(network, frozen, prefix="")


def _all_but_classifier(network: nn.Module) -> set[str]:
    return {key for key in _names(network) if not key.startswith(classifier_prefixes(network))}


def _first_stages(network: nn.Module, count: int, *, name: str) -> set[str]:
    try:
        stage_of, stages = stages_of(network)
    except InputError as error:
        raise InputError(f"freeze={count}: {name}: {error}; only freeze=backbone is possible") from error
    if not 1 <= count <= stages:
        raise InputError(f"freeze={count}: {name} has {stages} stages; accepted are backbone and 1..{stages}")
    return {key for key, stage in stage_of.items() if stage <= count}


def _names(network: nn.Module) -> list[str]:
    """Return the names of all parameters and buffers."""
    return [name for named in (network.named_parameters(), network.named_buffers()) for name, _ in named]


def _whole_modules(module: nn.Module, frozen: set[str], *, prefix: str) -> list[nn.Module]:
    names = [f"{prefix}{name}" for name in _names(module)]
    if names and all(name in frozen for name in names):
        return [module]
    children = module.named_children()
    return [part for name, child in children for part in _whole_modules(child, frozen, prefix=f"{prefix}{name}.")]
