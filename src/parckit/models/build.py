"""From a name to a backbone, and from a backbone to the preprocessing that its weights expect."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import timm
import torch
from timm.layers import SpaceToDepth, to_2tuple
from torch import Tensor, nn

from parckit.contract import ChannelOrder, InputError, Interpolation, Preprocessing

create_model = timm.create_model
"""timm's own; reached through this package it knows our models too."""


_RESERVED = {
    "pretrained": "every opening of a checkpoint would load them; say where training starts with model.weights",
    "checkpoint_path": "every opening of a checkpoint would load it; say where training starts with model.weights",
}
"""Keywords of `timm.create_model` that a spec cannot have, and why."""


def build_backbone(
    name: str, kwargs: Mapping[str, object], *, pretrained: bool = False, **options: object
) -> nn.Module:
    """Build a model of timm's registry; every reason why that cannot be done becomes one line.

    Args:
        name: of the model.
        kwargs: keywords that a user gave.
        pretrained: load the weights that timm knows of it, which may download them.
        options: keywords that the caller sets, such as `num_classes`; a user may not give them.

    Raises:
        InputError: if timm knows no such model or weights, or the model refuses a keyword or its value.
    """
    if not timm.is_model(name):
        close = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see `parckit list`"
        raise InputError(f"model={name!r}: no such model here or in timm; close: {close}")
    for option, reason in {**_RESERVED, **dict.fromkeys(options, "parckit sets it")}.items():
        if option in kwargs:
            raise InputError(f"{option}={kwargs[option]} in the keywords of {name}: {reason}")
    try:
        return timm.create_model(name, pretrained=pretrained, **options, **kwargs)  # pyright: ignore[reportArgumentType]
    # timm raises RuntimeError for weights that do not exist. The last three come from values that no model checks.
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        raise InputError(f"keywords {dict(kwargs)} for {name}: {error or type(error).__name__}") from error


def build_on_meta(name: str, *, num_classes: int = 1000) -> nn.Module:
    """Build a model without numbers, on torch's meta device: quick, and enough to count it.

    Raises:
        InputError: if there is no such model.
    """
    with torch.device("meta"):
        return build_backbone(name, {}, num_classes=num_classes)


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
    return Preprocessing(
        size=size or (height, width),
        crop_pct=cast("float", config["crop_pct"]),
        interpolation=cast("Interpolation", config["interpolation"]),
        mean=cast("tuple[float, float, float]", config["mean"]),
        std=cast("tuple[float, float, float]", config["std"]),
        channel_order=cast("ChannelOrder", config.get("channel_order", "rgb")),
    )
