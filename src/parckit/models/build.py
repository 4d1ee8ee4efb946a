"""From a spec to a model, and from a model to the preprocessing its weights expect."""

from collections.abc import Mapping
from typing import cast

import timm
from torch import nn

from parckit.contract import InputError, ModelSpec, Preprocessing


def create_model(spec: ModelSpec) -> nn.Module:
    """Build the model that a spec describes, with fresh weights.

    Raises:
        InputError: if timm knows no such model, or the model refuses a keyword or its value.
    """
    if not timm.is_model(spec.model):
        close = ", ".join(timm.list_models(f"*{spec.model.split('_')[0]}*")[:8]) or "none alike"
        raise InputError(f"model={spec.model!r}: no such model here or in timm; close: {close}")
    try:
        return timm.create_model(spec.model, num_classes=len(spec.labels), **spec.model_kwargs)  # pyright: ignore[reportArgumentType]
    except (TypeError, ValueError, RuntimeError) as error:  # RuntimeError: timm's for weights that do not exist
        raise InputError(f"model_kwargs={dict(spec.model_kwargs)} for {spec.model}: {error}") from error


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
