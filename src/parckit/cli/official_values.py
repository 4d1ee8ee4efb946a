"""What the values of official training files are in ours, where they are not copied."""

from collections.abc import Mapping
from pathlib import PurePath

import numpy as np


class NoCounterpartError(ValueError):
    """An official value that parckit has nothing for; the message says why."""


_MODELS: Mapping[tuple[object, object], str] = {
    ("edgeformer", "xs"): "parcnet_xs",
    ("edgeformer", "s"): "parcnet_s",
    ("edgeformer", "h"): "parcnet_h",
    ("mobilevit", "xxs"): "mobilevit_xxs",
    ("mobilevit", "xs"): "mobilevit_xs",
    ("mobilevit", "s"): "mobilevit_s",
    ("mobilenetv2", 0.5): "mobilenetv2_050",
    ("mobilenetv2", 0.75): "mobilenetv2_075",
    ("mobilenetv2", 1): "mobilenetv2_100",
    ("mobilenetv2", 1.4): "mobilenetv2_140",
    ("resnet", 18): "resnet18",
    ("resnet", 34): "resnet34",
    ("resnet", 50): "resnet50",
    ("resnet", 101): "resnet101",
}

_LETTERS = {"huge": "h", "small": "s", "x_small": "xs", "xx_small": "xxs"}

_ACTIVATIONS = {"edgeformer": "swish", "mobilevit": "swish", "mobilenetv2": "relu6", "resnet": "relu"}


def number(value: object, *, default: float | None = None) -> float:
    """Return a number as it is; None gives `default`."""
    value = default if value is None else value
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise NoCounterpartError("must be a number")
    return value


def flag(value: object) -> bool:
    """Return true or false as it is."""
    if not isinstance(value, bool):
        raise NoCounterpartError("must be true or false")
    return value


def model_name(family: object, *modes: object) -> str:
    """Return timm's or our name of an architecture and its variant."""
    mode = next((mode for mode in modes if mode is not None), None)
    letters = _LETTERS.get(mode, mode) if isinstance(mode, str) else mode
    name = next((name for key, name in _MODELS.items() if key == (family, letters)), None)
    if name is None:
        raise NoCounterpartError("no model of that name is known; give ours with --model")
    return name


def check_activation(own: object, fallback: object, family: object) -> None:
    """Refuse an activation that is not the architecture's own; a `fallback` counts without an `own` one."""
    if (own or fallback) != _ACTIVATIONS.get(str(family)):
        raise NoCounterpartError("the model has its own activation")


def sync_batchnorm(name: object) -> bool:
    """Say whether the processes share the statistics of their batches."""
    if name not in ("batch_norm", "batch_norm_2d", "sync_batch_norm"):  # a list in its place has no hash
        raise NoCounterpartError("the model has its own norms")
    return name == "sync_batch_norm"


def optimizer_name(name: object, nesterov: object) -> str:
    """Return timm's name of an optimizer."""
    if name not in ("adam", "adamw", "sgd"):
        raise NoCounterpartError("only adam, adamw and sgd are known; timm's names go into model.optimizer.name")
    return "momentum" if name == "sgd" and not nesterov else str(name)  # timm's sgd has Nesterov's momentum


def betas(first: object, second: object) -> list[float]:
    """Return both betas of Adam; torch's defaults where the file says nothing."""
    return [number(first, default=0.9), number(second, default=0.999)]


def image_size(height: object, width: object) -> list[int]:
    """Return (height, width), pixels."""
    return [int(number(height)), int(number(width))]


def crop_pct(*heights: object) -> float:
    """Return the share of the image that evaluation crops where the file does not say: its side is 32 pixels more."""
    side = _given(heights)
    return side / (side + 32)


def resized_crop_pct(resized: object, *heights: object) -> float:
    """Return the share that evaluation crops of an image whose shorter side is `resized`, pixels."""
    return _given(heights) / number(resized)


def crop(enabled: object) -> str:
    """Return our name of the random crop, which is switched on wherever this is asked."""
    del enabled
    return "random_resized"


def flip(enabled: object, share: object) -> float:
    """Return the probability of a flip; half, as recorded, where the file only switches it on."""
    del enabled
    return number(share, default=0.5)


def scales(sampler: object, count: object, step: object, *limits: object) -> dict[str, object] | None:
    """Return the sides of multi-scale training: evenly spaced, rounded to multiples of `step`; None without it."""
    if sampler != "variable_batch_sampler":
        return None
    if any(value is None for value in (count, step, *limits)):
        raise NoCounterpartError("its sizes need crop_size, max_n_scales, check_scale and the limits of both sides")
    lowest, highest, *widths, base, base_width = (int(number(limit)) for limit in limits)
    if [*widths, base_width] != [lowest, highest, base]:
        raise NoCounterpartError("sizes of several images can only be square")
    every = int(number(step))
    even: list[float] = np.linspace(lowest, highest, int(number(count))).tolist()
    sides = {int(side / every + 0.5) * every for side in even}  # halves go up: 240 pixels become 256
    return {"sides": sorted(sides), "base": base}


def source(train: object, val: object) -> str:
    """Return the folder that holds both splits."""
    folders = PurePath(str(train)), PurePath(str(val))
    if [folder.name for folder in folders] != ["train", "val"] or len({folder.parent for folder in folders}) > 1:
        raise NoCounterpartError("one folder is wanted that holds train and val; give it to the training with --data")
    return str(folders[0].parent)


def workers(count: object) -> int:
    """Return the number of loader processes."""
    if number(count) < 0:
        raise NoCounterpartError("how many loader processes there are is data.workers")
    return int(number(count))


def averaging(enabled: object, momentum: object) -> dict[str, object]:
    """Return the settings of the moving average of the weights."""
    del enabled
    # The recorded trainings have 0.0005; rounded, for 1 - 0.0001 has a long tail of digits.
    return {"decay": round(1 - number(momentum, default=0.0005), 12), "ramp": False}


def monitor(metric: object, highest: object) -> str:
    """Return the quantity that the best checkpoint is chosen by."""
    ours = {("top1", True): "val_top1", ("loss", False): "val_loss"}.get((str(metric), highest is True))
    if ours is None:
        raise NoCounterpartError("the best checkpoint is that of highest top1 or lowest loss")
    return ours


def _given(values: tuple[object, ...]) -> float:
    """Return the one of the values that the file gives."""
    return number(next((value for value in values if value is not None), None))
