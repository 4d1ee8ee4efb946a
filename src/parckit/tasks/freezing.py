"""Keeping a part of the network as it is while the rest is trained."""

from typing import Literal

from torch import nn

from parckit.contract import InputError, NetworkSpec
from parckit.models import stages_of
from parckit.networks import backbone_of, head_of

Freeze = Literal["backbone"] | int
"""`"backbone"`: everything but the head. A number N: the first N stages and everything before them."""


def freeze(network: nn.Module, part: Freeze, *, spec: NetworkSpec) -> list[nn.Module]:
    """Exclude a part of a network from training.

    Args:
        network: the network.
        part: what is frozen.
        spec: its spec.

    Returns:
        The largest modules that are frozen as a whole. In eval mode, their norms keep their statistics.

    Raises:
        InputError: if the network does not have as many stages, or does not say what its stages are.
    """
    frozen = _whole_backbone(network, spec) if part == "backbone" else _first_stages(network, int(part), spec=spec)
    for key, weight in network.named_parameters():
        if key in frozen:
            weight.requires_grad = False
    return _whole_modules(network, frozen, prefix="")


def _whole_backbone(network: nn.Module, spec: NetworkSpec) -> set[str]:
    """Return the weights of the backbone. A network that is a timm model itself trains only its classifier."""
    head = head_of(spec)
    fresh = () if head.backbone else head.label_weights(network)
    return {key for key in _names(network) if key.startswith(head.backbone) and not key.startswith(fresh)}


def _first_stages(network: nn.Module, count: int, *, spec: NetworkSpec) -> set[str]:
    backbone, name = backbone_of(network, spec), spec.backbone
    try:
        stage_of, stages = stages_of(backbone)
    except InputError as error:
        raise InputError(f"freeze={count}: {name}: {error}; only freeze=backbone is possible") from error
    if not 1 <= count <= stages:
        raise InputError(f"freeze={count}: {name} has {stages} stages; accepted are backbone and 1..{stages}")
    prefix = head_of(spec).backbone
    return {f"{prefix}{key}" for key, stage in stage_of.items() if stage <= count}


def _names(network: nn.Module) -> list[str]:
    """Return the names of all parameters and buffers."""
    return [name for named in (network.named_parameters(), network.named_buffers()) for name, _ in named]


def _whole_modules(module: nn.Module, frozen: set[str], *, prefix: str) -> list[nn.Module]:
    names = [f"{prefix}{name}" for name in _names(module)]
    if names and all(name in frozen for name in names):
        return [module]
    children = module.named_children()
    return [part for name, child in children for part in _whole_modules(child, frozen, prefix=f"{prefix}{name}.")]
