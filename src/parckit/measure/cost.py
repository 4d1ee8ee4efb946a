"""The theoretical cost of a model: its parameters and multiply-adds, in total and per stage."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from parckit.layers import AxisConv2d, remove_training_only
from parckit.models import shadow_of

_MAP_DIMS = 4


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage of a backbone, as timm's `feature_info` lists them.

    Attributes:
        module: name of the module whose output is the stage's feature map.
        channels: channels of that map.
        reduction: nominal stride of the map: input pixels per position, along both axes.
        height: number of rows of the map.
        width: number of columns of the map.
        params: number of parameters of the module.
        madds: multiply-adds of the module for one image.
    """

    module: str
    channels: int
    reduction: int
    height: int
    width: int
    params: int
    madds: int


@dataclass(frozen=True, kw_only=True, slots=True)
class Cost:
    """The parameters and multiply-adds of a model.

    Attributes:
        params: number of learned numbers; a parameter with several names is counted once. What runs in training only,
            such as an auxiliary head, is left out.
        madds: multiply-adds for one image in convolutions, linear layers and matrix products. Circular convolutions are
            counted in their convolution form with all taps.
        stages: the backbone's stages. Left out are stages whose output is no (B, C, H, W) map, as in transformers, and
            stages that are not a module, as in timm's HRNet.
    """

    params: int
    madds: int
    stages: tuple[Stage, ...]


def count(model: nn.Module, *, size: tuple[int, int], channels: int = 3) -> Cost:
    """Count an unfused model's parameters and multiply-adds for one image of `size` (height, width) and `channels`.

    The model is not changed or run. A copy on the meta device, which has no data, is run instead.
    """
    shadow = shadow_of(model)
    remove_training_only(shadow)
    for module in shadow.modules():
        if isinstance(module, AxisConv2d):
            module.form = "conv"
    # Only timm's models list their stages. For other modules, only the totals are counted.
    modules = {name for name, _ in model.named_modules()}
    listed = cast("list[Mapping[str, object]]", getattr(model, "feature_info", []))
    info = [stage for stage in listed if stage["module"] in modules]
    sizes: dict[str, tuple[int, int]] = {}
    for stage in info:
        _record_size(shadow, str(stage["module"]), channels=cast("int", stage["num_chs"]), sizes=sizes)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        shadow(torch.empty(1, channels, *size, device="meta"))
    flops = {name: sum(by_operator.values()) for name, by_operator in counter.get_flop_counts().items()}
    mapped = [entry for entry in info if str(entry["module"]) in sizes]
    return Cost(
        params=_params(shadow),
        madds=counter.get_total_flops() // 2,
        stages=tuple(_stage(model, entry, size=sizes[str(entry["module"])], flops=flops) for entry in mapped),
    )


def format_count(number: int) -> str:
    """Return a large number in millions (M) or billions (G), as papers do."""
    billion = 1_000_000_000
    return f"{number / billion:.2f} G" if number >= billion else f"{number / 1_000_000:.2f} M"


def _record_size(model: nn.Module, name: str, *, channels: int, sizes: dict[str, tuple[int, int]]) -> None:
    """Let a hook store the height and width of a module's output in `sizes`, if it is a (B, channels, H, W) map."""

    def record(_module: nn.Module, _inputs: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == _MAP_DIMS and output.shape[1] == channels:
            sizes[name] = (output.shape[2], output.shape[3])

    model.get_submodule(name).register_forward_hook(record)


def _stage(model: nn.Module, info: Mapping[str, object], *, size: tuple[int, int], flops: Mapping[str, int]) -> Stage:
    name = str(info["module"])
    return Stage(
        module=name,
        channels=cast("int", info["num_chs"]),
        reduction=cast("int", info["reduction"]),
        height=size[0],
        width=size[1],
        params=_params(model.get_submodule(name)),
        # In the counter, the names of modules begin with the class name of the model.
        madds=flops.get(f"{type(model).__name__}.{name}", 0) // 2,
    )


def _params(model: nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
