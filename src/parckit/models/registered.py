"""Build a registered model as timm's users expect: on any device, in any precision, and never with missing weights."""

from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import TypeVar, cast

import timm
import torch
from timm.models import build_model_with_cfg, get_pretrained_cfg
from timm.models._builder import resolve_pretrained_cfg
from torch import nn

ModelT = TypeVar("ModelT", bound=nn.Module)


def build_registered(
    build: Callable[..., ModelT],
    variant: str,
    pretrained: bool,
    *,
    feature_cfg: Mapping[str, object],
    **kwargs: object,
) -> ModelT:
    """Call timm's `build_model_with_cfg`.

    Args:
        build: makes the model from the keywords that timm does not use itself.
        variant: the registered name.
        pretrained: load the weights of the tag that `kwargs["pretrained_cfg"]` names, or else of the default tag.
        feature_cfg: how `features_only` works for this model.
        kwargs: keywords for timm and for `build`. As in timm, `device` is where the model is made, and `dtype` is its
            precision.

    Raises:
        RuntimeError: if weights are asked for and there are none; the message names the tags that have weights.
    """
    if pretrained:
        _check_weights(variant, kwargs)
    device = cast("torch.device | str | None", kwargs.pop("device", None))
    dtype = cast("torch.dtype | None", kwargs.pop("dtype", None))
    with nullcontext() if device is None else torch.device(device):
        model = build_model_with_cfg(build, variant, pretrained, feature_cfg=dict(feature_cfg), **kwargs)  # pyright: ignore[reportArgumentType]
    return model if dtype is None else model.to(dtype)


def _check_weights(variant: str, kwargs: Mapping[str, object]) -> None:
    config = resolve_pretrained_cfg(
        variant,
        pretrained_cfg=cast("str | dict[str, object] | None", kwargs.get("pretrained_cfg")),
        pretrained_cfg_overlay=cast("dict[str, object] | None", kwargs.get("pretrained_cfg_overlay")),
    )
    if config.has_weights or config.state_dict or config.source:
        return
    tagged = timm.list_pretrained(f"{variant}.*")
    others = f"; there are: {', '.join(map(_describe, tagged))}" if tagged else ""
    raise RuntimeError(f"No pretrained weights exist for {variant}.{config.tag}{others}. Or set pretrained=False.")


def _describe(tagged: str) -> str:
    config = get_pretrained_cfg(tagged)
    assert config is not None  # noqa: S101  # timm has just listed it
    _, height, width = config.input_size
    return f"{tagged} ({config.num_classes} classes, {height}x{width} pixels)"
