"""From a spec to a model, and from a model to the preprocessing its weights expect."""

import copy
from collections.abc import Callable, Mapping, Sequence
from typing import cast

import timm
import torch
from timm.layers import SpaceToDepth, to_2tuple
from torch import Tensor, nn

from parckit.contract import InputError, ModelSpec, Preprocessing

create_model = timm.create_model
"""timm's own; reached through this package it knows our models too."""


_RESERVED = {
    "num_classes": "it follows from the labels",
    "pretrained": "every opening of a checkpoint would load them; say where training starts with model.weights",
    "checkpoint_path": "every opening of a checkpoint would load it; say where training starts with model.weights",
}
"""Keywords of `timm.create_model` that a spec cannot have, and why."""


def build_model(spec: ModelSpec, *, pretrained: bool = False) -> nn.Module:
    """Build the model that a spec describes.

    Args:
        spec: name, keywords and classes.
        pretrained: with the weights that timm knows of it, which may download them; else with fresh ones.

    Raises:
        InputError: if timm knows no such model or weights, or the model refuses a keyword or its value.
    """
    if not timm.is_model(spec.model):
        close = ", ".join(timm.list_models(f"*{spec.model.split('_')[0]}*")[:8]) or "see `parckit list`"
        raise InputError(f"model={spec.model!r}: no such model here or in timm; close: {close}")
    for name, reason in _RESERVED.items():
        if name in spec.model_kwargs:
            raise InputError(f"{name}={spec.model_kwargs[name]} in model_kwargs of {spec.model}: {reason}")
    classes, kwargs = len(spec.labels), spec.model_kwargs
    try:
        return timm.create_model(spec.model, pretrained=pretrained, num_classes=classes, **kwargs)  # pyright: ignore[reportArgumentType]
    # RuntimeError: timm's for weights that do not exist; the last ones: what values lead to that no model looks at.
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        raise InputError(f"model_kwargs={dict(kwargs)} for {spec.model}: {error or type(error).__name__}") from error


def build_on_meta(name: str, *, num_classes: int = 1000) -> nn.Module:
    """Build a model without numbers, on torch's meta device: quick, and enough to be counted.

    Raises:
        InputError: if there is no such model.
    """
    labels = tuple(map(str, range(num_classes)))
    with torch.device("meta"):
        return build_model(ModelSpec(model=name, labels=labels, preprocessing=Preprocessing(size=(1, 1))))


def check_input(model: nn.Module, spec: ModelSpec, *, size: tuple[int, int] | None = None) -> None:
    """Try a model on images of its spec's size, or of another one, on a copy without data.

    Args:
        model: to be tried.
        spec: what an error calls it.
        size: (height, width), pixels; None: the spec's.

    Raises:
        InputError: if it cannot take them.
    """
    shadow = copy.deepcopy(model).to("meta").eval()
    size = size or spec.preprocessing.size
    refusal = f"{spec.model} with {dict(spec.model_kwargs)} cannot take RGB images of size={size}"
    try_images(shadow, torch.empty(2, 3, *size, device="meta"), refusal=refusal)


def try_images(forward: Callable[[Tensor], object], images: Tensor, *, refusal: str) -> None:
    """Run a model, or a part of one, to see whether it can take images.

    Args:
        forward: to be run.
        images: without data, as the model is.
        refusal: what an error says before the reason.

    Raises:
        InputError: if it cannot take them.

    Shape:
        images: (B, C, H, W)
    """
    try:
        forward(images)
    except (RuntimeError, AssertionError, ValueError, IndexError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise InputError(f"{refusal}: {reason}") from error


def check_size(size: object) -> None:
    """Check the size of images that a user gave.

    Raises:
        InputError: if it is not (height, width) in whole pixels.
    """
    sides = cast("tuple[object, ...]", size) if isinstance(size, tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"size={size!r}: must be (height, width), two whole numbers of pixels from 1 up")


def image_channels(model: nn.Module) -> int:
    """Return how many channels the images of a model have.

    The convolution tells that `pretrained_cfg` names as the first, since `pretrained_cfg["input_size"]` does not follow
    `in_chans`; where that one is not there, as in models of features, the first one registered.

    Raises:
        InputError: if the model has no convolution.
    """
    config = cast("Mapping[str, object]", getattr(model, "pretrained_cfg", None) or {})
    named = cast("str | Sequence[str] | None", config.get("first_conv"))
    if config and not named:
        return cast("tuple[int, int, int]", config["input_size"])[0]
    modules = dict(model.named_modules())
    first = None if named is None else modules.get(to_2tuple(named)[0])
    convs = [module for module in (first, *modules.values()) if isinstance(module, nn.Conv2d)]
    if not convs:
        raise InputError(f"model of class {type(model).__name__}: has no convolution, so it takes no images")
    # TResNet's stem makes channels of squares of pixels before its first convolution.
    stem = next((module for module in modules.values() if isinstance(module, SpaceToDepth)), None)
    return convs[0].in_channels if stem is None else convs[0].in_channels // stem.bs**2


def preprocessing_of(model: nn.Module, *, size: tuple[int, int] | None = None) -> Preprocessing:
    """Return what a timm model's `pretrained_cfg` says of its input, at `size` or at the size it was made for."""
    config = cast("Mapping[str, object]", model.pretrained_cfg)
    _, height, width = cast("tuple[int, int, int]", config["input_size"])
    return Preprocessing.from_dict(
        {
            "size": size or (height, width),
            "crop_pct": config["crop_pct"],
            "interpolation": config["interpolation"],
            "mean": config["mean"],
            "std": config["std"],
            "channel_order": config.get("channel_order", "rgb"),
        }
    )
