"""Grad-CAM: which parts of an image support a class.

R. R. Selvaraju et al., "Grad-CAM: Visual Explanations from Deep Networks via Gradient-based Localization" (ICCV 2017,
arXiv:1610.02391), computed by captum.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from captum.attr import LayerAttribution, LayerGradCam
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import InputError

_MAP_DIMS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Activation:
    """How strongly every pixel supports a class, and the network's output.

    Attributes:
        strength: (H, W), 0..1; the largest value is 1, or 0 if no pixel supports the class.
        target: index of the class.
        logits: (num_classes,)
    """

    strength: NDArray[np.float32]
    target: int
    logits: NDArray[np.float32]


def class_activation(model: nn.Module, image: Tensor, *, layer: str, target: int | None = None) -> Activation:
    """Compute the Grad-CAM of one image, resized bilinearly to the image's size.

    Args:
        model: a classifier in eval mode.
        image: preprocessed.
        layer: name of the module whose output is used: a map with the channels first or last.
        target: index of the class; the most probable one by default.

    Shape:
        image: (3, H, W)

    Raises:
        InputError: if there is no such layer, the model does not use it, or its output is no map.
    """
    height, width = image.shape[1:]
    watched = nn.Identity()
    calls: list[str] = []

    def pass_through(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        calls.append(layer)
        return _watch(output, watched=watched, layer=layer, aspect=height / width)

    with _submodule(model, layer).register_forward_hook(pass_through):
        # Predict the classes; this also shows whether the model uses the layer.
        with torch.no_grad():
            logits = model(image[None])[0]
        if not calls:
            raise InputError(f"layer={layer!r}: is not called when the model runs; choose another")
        # Let captum compute the Grad-CAM of the class at `watched`.
        label = int(logits.argmax()) if target is None else target
        cam = LayerGradCam(model, watched)
        positive = cast("Tensor", cam.attribute(image[None].requires_grad_(), label, relu_attributions=True))
    # Resize it to the image, and scale it to 0..1.
    strength = LayerAttribution.interpolate(positive.detach(), (height, width), interpolate_mode="bilinear")[0, 0]
    return Activation(
        strength=(strength / strength.max().clamp_min(torch.finfo(strength.dtype).tiny)).numpy(),
        target=label,
        logits=logits.numpy(),
    )


def _watch(output: object, *, watched: nn.Module, layer: str, aspect: float) -> Tensor:
    """Pass a layer's output through `watched` with the channels first, as captum needs it; return it unchanged.

    Raises:
        InputError: if the output is no map.
    """
    if not isinstance(output, Tensor) or output.ndim != _MAP_DIMS:
        kind = f"shape {tuple(output.shape)}" if isinstance(output, Tensor) else type(output).__name__
        raise InputError(f"layer={layer!r}: its output is no map (B, C, H, W) but {kind}; choose another")
    if _channels_last(output, aspect=aspect):
        return watched(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
    return watched(output)


def last_layer(model: nn.Module) -> str:
    """Return the name of the module whose output is the last stage of a timm model.

    Raises:
        InputError: if the model has no list of its stages.
    """
    info = cast("list[Mapping[str, object]]", getattr(model, "feature_info", []))
    if not info:
        raise InputError(f"{type(model).__name__} lists no stages; name a layer")
    return str(info[-1]["module"])


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        outer = ", ".join(child for child, _ in model.named_children())
        raise InputError(f"layer={name!r}: no such module; choose one of {outer} or a module in them") from error


def _channels_last(output: Tensor, *, aspect: float) -> bool:
    """Tell (B, H, W, C) from (B, C, H, W): height and width of a map have about the same ratio as the image's."""
    _, first, middle, last = output.shape
    return abs(math.log(first / middle / aspect)) < abs(math.log(middle / last / aspect))
