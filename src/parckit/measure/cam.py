"""Grad-CAM: which parts of an image speak for a class.

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
    """What speaks for a class, and how probable the classes are.

    Attributes:
        strength: (H, W), 0..1; the strongest pixel is 1 unless nothing speaks for the class.
        target: index of the class.
        probabilities: (num_classes,)
    """

    strength: NDArray[np.float32]
    target: int
    probabilities: NDArray[np.float32]


def class_activation(model: nn.Module, image: Tensor, *, layer: str, target: int | None = None) -> Activation:
    """Compute the Grad-CAM of one image, resized bilinearly to the image's size.

    Args:
        model: a classifier in eval mode.
        image: preprocessed.
        layer: name of the module whose output is looked at, a map with the channels first or last.
        target: index of the class; the most probable one by default.

    Shape:
        image: (3, H, W)

    Raises:
        InputError: if there is no such layer, or it gives no map.
    """
    height, width = image.shape[1:]
    # captum watches this module, which sees the layer's output with the channels first.
    watched = nn.Identity()
    shapes: list[tuple[int, ...]] = []

    def pass_through(_module: nn.Module, _inputs: object, output: object) -> Tensor:
        if not isinstance(output, Tensor) or output.ndim != _MAP_DIMS:
            given = tuple(output.shape) if isinstance(output, Tensor) else type(output).__name__
            raise InputError(f"layer={layer!r}: gives {given}, no map; choose another")
        shapes.append(tuple(output.shape))
        if _channels_last(output, aspect=height / width):
            return watched(output.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
        return watched(output)

    with _submodule(model, layer).register_forward_hook(pass_through):
        with torch.no_grad():
            probabilities = model(image[None])[0].softmax(0)
        if not shapes:
            raise InputError(f"layer={layer!r}: is not called when the model runs; choose another")
        chosen = int(probabilities.argmax()) if target is None else target
        cam = LayerGradCam(model, watched)
        positive = cast("Tensor", cam.attribute(image[None].requires_grad_(), chosen, relu_attributions=True))
    strength = LayerAttribution.interpolate(positive.detach(), (height, width), interpolate_mode="bilinear")[0, 0]
    return Activation(
        strength=(strength / strength.max().clamp_min(torch.finfo(strength.dtype).tiny)).numpy(),
        target=chosen,
        probabilities=probabilities.numpy(),
    )


def last_layer(model: nn.Module) -> str:
    """Return the name of the module behind a timm model's last stage.

    Raises:
        InputError: if the model lists no stages.
    """
    info = cast("list[Mapping[str, object]]", getattr(model, "feature_info", []))
    if not info:
        raise InputError(f"{type(model).__name__} lists no stages: name a layer")
    return str(info[-1]["module"])


def _submodule(model: nn.Module, name: str) -> nn.Module:
    try:
        return model.get_submodule(name)
    except AttributeError as error:
        outer = ", ".join(child for child, _ in model.named_children())
        raise InputError(f"layer={name!r}: no such module; the outermost are {outer}") from error


def _channels_last(output: Tensor, *, aspect: float) -> bool:
    """Tell (B, H, W, C) from (B, C, H, W): a map has the image's aspect, and channels do not follow it."""
    _, first, middle, last = output.shape
    return abs(math.log(first / middle / aspect)) < abs(math.log(middle / last / aspect))
