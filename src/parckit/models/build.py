"""Build a backbone by its name, and read from a backbone which preprocessing its weights expect."""

import copy
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TypeVar, cast

import timm
import torch
from timm.layers import SpaceToDepth, to_2tuple
from torch import Tensor, nn

from parckit.contract import ChannelOrder, Fit, InputError, Interpolation, Preprocessing

_Model = TypeVar("_Model", bound=nn.Module)

create_model = timm.create_model
"""`timm.create_model`; importing it from this package registers our models, too."""

_RESERVED = {
    "pretrained": "opening a checkpoint would load them every time; set model.weights for training instead",
    "checkpoint_path": "opening a checkpoint would load it every time; set model.weights for training instead",
}
"""Keywords of `timm.create_model` that a `NetworkSpec` must not contain -> the reason."""

_FITS: Mapping[str, Fit] = {"squash": "stretch", "border": "contain"}
"""timm's `crop_mode` -> our `fit`."""


def build_backbone(
    name: str, kwargs: Mapping[str, object], *, pretrained: bool = False, **options: object
) -> nn.Module:
    """Build a model from timm's registry; every failure becomes an error of one line.

    Args:
        name: the model's name in timm.
        kwargs: keywords from the user.
        pretrained: load the pretrained weights that timm has for this model; this may download them.
        options: keywords that the caller sets, such as `num_classes`; the user must not set them.

    Raises:
        InputError: if timm has no such model or weights, or the model refuses a keyword or its value.
    """
    if not timm.is_model(name):
        similar = ", ".join(timm.list_models(f"*{name.split('_', maxsplit=1)[0]}*")[:8]) or "see `parckit list`"
        raise InputError(f"model={name!r}: no such model in parckit or timm; similar: {similar}")
    for option, reason in {**_RESERVED, **dict.fromkeys(options, "parckit sets it")}.items():
        if option in kwargs:
            raise InputError(f"{option}={kwargs[option]} in the keywords of {name}: {reason}")
    try:
        return timm.create_model(name, pretrained=pretrained, **options, **kwargs)  # pyright: ignore[reportArgumentType]
    # RuntimeError: the weights do not exist. The last three errors come from values that no model checks.
    except (TypeError, ValueError, RuntimeError, AssertionError, LookupError, AttributeError) as error:
        raise InputError(f"keywords {dict(kwargs)} for {name}: {error or type(error).__name__}") from error


def build_on_meta(name: str, *, num_classes: int = 1000) -> nn.Module:
    """Build a model on torch's meta device, without data: fast, and enough to count parameters and multiply-adds.

    Raises:
        InputError: if there is no such model.
    """
    with torch.device("meta"):
        return build_backbone(name, {}, num_classes=num_classes)


def copy_model(model: _Model) -> _Model:
    """Return a deep copy of a model. `deepcopy` alone takes three times as long, for it copies empty dictionaries."""
    return copy.deepcopy(model, _empty_hooks(model))


def _empty_hooks(model: nn.Module) -> dict[int, object]:
    """Return new dictionaries for those in which modules keep hooks, if they are empty. `deepcopy` then takes these."""
    attributes = (value for module in model.modules() for value in vars(module).values())
    return {id(value): OrderedDict() for value in attributes if type(value) is OrderedDict and not value}


def shadow_of(model: nn.Module) -> nn.Module:
    """Return a copy of a model on the meta device, in float32 and eval mode, to find out sizes and counts.

    Its batch norms return what they get. They change no size, and torch computes them there in many steps of Python,
    which would take most of the time.
    """
    copies = _empty_hooks(model)
    for tensor in (*model.parameters(), *model.buffers()):  # without their numbers
        hollow = tensor.detach().to("meta", torch.float32 if tensor.is_floating_point() else tensor.dtype)
        is_learned = isinstance(tensor, nn.Parameter)
        copies[id(tensor)] = nn.Parameter(hollow, requires_grad=tensor.requires_grad) if is_learned else hollow
    shadow = copy.deepcopy(model, copies).eval()
    for module in shadow.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = nn.Identity().forward
    return shadow


def try_images(forward: Callable[[Tensor], object], images: Tensor, *, refusal: str) -> None:
    """Run a model, or a part of one, to check that it can take images.

    Args:
        forward: the model, or the part of it.
        images: on the meta device, like the model.
        refusal: the beginning of the error message; the reason follows it.

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
    """Check an image size that comes from the user.

    Raises:
        InputError: if it is not (height, width) in whole pixels.
    """
    sides = cast("tuple[object, ...]", size) if isinstance(size, tuple) else ()
    if len(sides) != 2 or not all(isinstance(side, int) and side > 0 for side in sides):
        raise InputError(f"size={size!r}: must be (height, width), two whole numbers of pixels, each at least 1")


def image_channels(model: nn.Module) -> int:
    """Return how many channels the images of a model have.

    The model's first convolution has the answer, because `pretrained_cfg["input_size"]` does not follow `in_chans`.
    `pretrained_cfg["first_conv"]` names this convolution. If the model has no module of that name, as in a model made
    with `features_only`, the first registered convolution is used.

    Raises:
        InputError: if the model has no convolution.
    """
    config = cast("Mapping[str, object]", getattr(model, "pretrained_cfg", None) or {})
    named = cast("str | Sequence[str] | None", config.get("first_conv"))
    # Some models have a config that names no first convolution: trust its input size.
    if config and not named:
        return cast("tuple[int, int, int]", config["input_size"])[0]
    modules = dict(model.named_modules())
    first = None if named is None else modules.get(to_2tuple(named)[0])
    convs = [module for module in (first, *modules.values()) if isinstance(module, nn.Conv2d)]
    if not convs:
        raise InputError(f"model of class {type(model).__name__}: has no convolution, so it takes no images")
    # TResNet's stem turns squares of pixels into channels before its first convolution.
    stem = next((module for module in modules.values() if isinstance(module, SpaceToDepth)), None)
    return convs[0].in_channels if stem is None else convs[0].in_channels // stem.bs**2


def preprocessing_of(model: nn.Module, *, size: tuple[int, int] | None = None) -> Preprocessing:
    """Return the preprocessing in a timm model's `pretrained_cfg`, at `size` or by default at the size stated there.

    timm's `crop_mode` decides how pictures are fitted: `squash` is our `stretch`, `border` is our `contain`. With a
    `crop_pct` below 1, both crop the picture after that, which we cannot describe. Then it is `cover`, which is the
    same for square pictures.

    A model with one input channel gets grey images with the average of the channels' means and deviations: timm makes
    its first convolution by adding up the weights of the three channels.
    """
    config = cast("Mapping[str, object]", model.pretrained_cfg)
    _, height, width = cast("tuple[int, int, int]", config["input_size"])
    mean, crop_pct = cast("tuple[float, float, float]", config["mean"]), cast("float", config["crop_pct"])
    crop_mode = str(config.get("crop_mode")) if crop_pct == 1 else "center"
    preprocessing = Preprocessing(
        size=size or (height, width),
        fit=_FITS.get(crop_mode, "cover"),
        crop_pct=crop_pct,
        interpolation=cast("Interpolation", config["interpolation"]),
        mean=mean,
        std=cast("tuple[float, float, float]", config["std"]),
        channel_order=cast("ChannelOrder", config.get("channel_order", "rgb")),
    )
    if preprocessing.fit == "contain":
        red, green, blue = (round(255 * level) for level in mean)
        preprocessing = replace(preprocessing, fill=(red, green, blue))
    return preprocessing.as_grey() if image_channels(model) == 1 else preprocessing
