"""Find the convolutions of a network that ParC can replace."""

import math
from collections import Counter
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn

from parckit.contract import InputError
from parckit.models.build import image_channels, shadow_of, try_images
from parckit.models.stages import stages_of

_Passes = set[tuple[torch.Size, torch.Size]]
"""The (input, output) shapes with which a convolution ran."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Candidate:
    """A convolution that can become ParC.

    Attributes:
        name: name of the module in the model.
        conv: the module.
        stage: index of its stage; 0 is the first one after the stem.
        size: (height, width) of its map.
    """

    name: str
    conv: nn.Conv2d
    stage: int
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True, slots=True)
class Survey:
    """The convolutions that can be replaced in a model, and the sizes of its maps.

    Attributes:
        candidates: one or more, in the model's order.
        sizes: (height, width) of all maps in its stages, smallest first, without maps of one position.
    """

    candidates: tuple[Candidate, ...]
    sizes: tuple[tuple[int, int], ...]


def survey(model: nn.Module, size: tuple[int, int]) -> Survey:
    """Return what can be replaced for images of `size` (height, width).

    Raises:
        InputError: if nothing can be replaced (the error says why); if the model has no stages or cannot take such
            images.
    """
    stage_of = _stages(model)
    passes = _trace(model, size)
    candidates: list[Candidate] = []
    sizes: set[tuple[int, int]] = set()
    obstacles = Counter[str]()
    # Sort the convolutions into candidates and obstacles; note the sizes of the stages' maps.
    for name, seen in passes.items():
        conv = cast("nn.Conv2d", model.get_submodule(name))
        obstacle = _obstacle(conv, seen) if name in stage_of else "outside the stages"
        if name in stage_of:
            sizes |= {(height, width) for _, (_, _, height, width) in seen if height * width > 1}
        if obstacle is None:
            _, _, height, width = next(iter(seen))[0]
            candidates.append(Candidate(name=name, conv=conv, stage=stage_of[name], size=(height, width)))
        else:
            obstacles[obstacle] += 1
    if not candidates:
        why = "; ".join(f"{number} {obstacle}" for obstacle, number in obstacles.items())
        name = type(model).__name__
        raise InputError(
            f"model of class {name} at size={size}: none of {len(passes)} convolutions can become ParC: {why}"
        )
    return Survey(candidates=tuple(candidates), sizes=tuple(sorted(sizes, key=math.prod)))


def _obstacle(conv: nn.Conv2d, seen: _Passes) -> str | None:
    """Say why a convolution cannot become ParC; None if it can."""
    if min(conv.kernel_size) < 3:
        return "with a kernel under 3x3"
    if len(seen) != 1:
        return "not run, or run at several sizes"
    ((before, after),) = seen
    if before != after:
        return "changing the shape of the map"
    if before[2:].numel() == 1:
        return "on a map of one position"
    if conv.groups == 1 and conv.in_channels % 2:
        return "dense with an odd number of channels"
    return None


def _stages(model: nn.Module) -> dict[str, int]:
    """Return the stage, counted from 0, of every module that has a parameter and lies in a stage."""
    try:
        stage_of, stages = stages_of(model)
    except InputError as error:
        needed = "must be a whole timm model, not one made with features_only or fused"
        raise InputError(f"model of class {type(model).__name__}: {error}; {needed}") from error
    return {name.rpartition(".")[0]: stage - 1 for name, stage in stage_of.items() if 1 <= stage <= stages}


def _trace(model: nn.Module, size: tuple[int, int]) -> dict[str, _Passes]:
    """Run a copy of the model on the meta device, without its head.

    Return the shapes with which every convolution ran, in the model's order.
    """
    shadow = shadow_of(model)
    convs = {name: module for name, module in shadow.named_modules() if isinstance(module, nn.Conv2d)}
    if not convs:
        raise InputError(f"model of class {type(model).__name__}: has no convolution")
    passes: dict[str, _Passes] = {name: set() for name in convs}
    for name, conv in convs.items():

        def note(_conv: nn.Module, inputs: tuple[Tensor], output: Tensor, seen: _Passes = passes[name]) -> None:
            seen.add((inputs[0].shape, output.shape))

        conv.register_forward_hook(note)
    images = torch.empty(1, image_channels(model), *size, device="meta")
    refusal = f"size={size}: {type(model).__name__} cannot take images of this size"
    try_images(shadow.forward_features, images, refusal=refusal)  # pyright: ignore[reportArgumentType]
    return passes
