"""The optimizer and its learning-rate schedule."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal, NamedTuple, cast, get_args

from timm.optim import create_optimizer_v2, list_optimizers, param_groups_layer_decay, param_groups_weight_decay
from torch import nn
from torch.optim import Optimizer as TorchOptimizer

from parckit.contract import InputError
from parckit.tasks.muon import orthogonalize_in_float32

WarmupUnit = Literal["share", "steps", "epochs"]
Cosine = Literal["run", "rest"]
Decay = Literal["cosine", "linear"]
Per = Literal["step", "epoch"]

_FUSED = ("adam", "adamw", "sgd")
"""Optimizers whose whole step torch can compute in one kernel."""
_MUONS = ("muon", "nmuon", "adamuon", "nadamuon")
"""Optimizers that make their updates orthogonal."""
_DROP = 0.1
"""A drop multiplies the learning rate by this, as is usual for detectors."""
_NEED_PACKAGES = ("bnb*", "fused*")
"""Optimizers that need CUDA and an additional package (bitsandbytes, Apex)."""


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class OptimizerSettings:
    """An optimizer of timm's list, with its parameter groups.

    Attributes:
        name: timm's name for it (`timm.optim.list_optimizers()`), such as adamw, muon, sgd, rmsproptf.
        lr: highest learning rate.
        lr_batch: number of images per step that `lr` is meant for. For another number, all learning rates are scaled in
            proportion. None: they are never scaled.
        weight_decay: of tensors with two or more dimensions.
        decay_all: whether weight decay also applies to norms, biases and other one-dimensional parameters.
        layer_decay: the learning rate of a layer is this factor times the learning rate of the next layer; None: all
            layers have the same learning rate.
        head_lr: factor of the learning rates of all weights outside of the backbone. Only networks whose backbone is a
            part of them can have another factor than 1: those for detection and segmentation.
        options: more keywords of the optimizer, such as betas or momentum.
    """

    name: str = "adamw"
    lr: float = 1e-3
    lr_batch: int | None = None
    weight_decay: float = 0.05
    decay_all: bool = False
    layer_decay: float | None = None
    head_lr: float = 1.0
    options: Mapping[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.name not in cast("list[str]", list_optimizers()):
            known = cast("list[str]", list_optimizers(exclude_filters=list(_NEED_PACKAGES)))
            raise InputError(f"optimizer.name={self.name!r}: choose from {', '.join(known)}")
        if self.lr <= 0 or (self.lr_batch is not None and self.lr_batch < 1):
            raise InputError(f"optimizer.lr={self.lr}, optimizer.lr_batch={self.lr_batch}: must be positive")
        if self.weight_decay < 0:
            raise InputError(f"optimizer.weight_decay={self.weight_decay}: must be at least 0")
        if self.layer_decay is not None and not 0 < self.layer_decay <= 1:
            raise InputError(f"optimizer.layer_decay={self.layer_decay}: must lie in (0, 1]")
        if not 0 < self.head_lr < math.inf:
            raise InputError(f"optimizer.head_lr={self.head_lr}: must be a positive factor")

    def lr_factor(self, *, batch: int) -> float:
        """Return the factor of all learning rates for steps of `batch` images, over all processes and batches."""
        return 1.0 if self.lr_batch is None else batch / self.lr_batch

    def build(self, model: nn.Module, *, lr: float, fused: bool = True, backbone: str = "") -> TorchOptimizer:
        """Return the optimizer of a model's trainable parameters. `set_lr` multiplies by the `lr_scale` of a group.

        Args:
            model: the network.
            lr: first learning rate.
            fused: use torch's kernel for a whole step, if there is one and the options do not decide it.
            backbone: prefix of the names of the backbone's weights; empty if all weights are the backbone's.

        Raises:
            InputError: if the optimizer refuses an option, or cannot be built on this machine, or `head_lr` is given
                and there are no weights outside of the backbone.
        """
        if self.head_lr != 1 and not backbone:
            raise InputError(f"optimizer.head_lr={self.head_lr}: this network has no weights outside of its backbone")
        options = self.options
        if self.name in _FUSED and "foreach" not in options:
            options = {"fused": fused, **options}
        build = partial(create_optimizer_v2, **cast("dict[str, Any]", options))
        try:
            optimizer = build(
                model,
                self.name,
                lr=lr,
                weight_decay=self.weight_decay,
                filter_bias_and_bn=not self.decay_all,
                layer_decay=self.layer_decay,
                param_group_fn=None if self.head_lr == 1 else partial(self._groups, backbone=backbone),
            )
        except (TypeError, ValueError, RuntimeError, AssertionError) as error:
            raise InputError(f"optimizer {self.name}, options={dict(self.options)}: {error}") from error
        if self.name in _MUONS and all(weight.device.type == "cpu" for weight in model.parameters()):
            orthogonalize_in_float32(optimizer)
        return optimizer

    def _groups(self, model: nn.Module, *, backbone: str) -> list[dict[str, Any]]:
        """Return timm's groups of parameters, each divided into backbone and head."""
        decay, only_matrices = self.weight_decay, not self.decay_all
        groups = (
            param_groups_weight_decay(model, decay, weight_decay_exclude_1d=only_matrices)
            if self.layer_decay is None
            else param_groups_layer_decay(
                model, decay, weight_decay_exclude_1d=only_matrices, layer_decay=self.layer_decay
            )
        )
        of_backbone = {id(weight) for name, weight in model.named_parameters() if name.startswith(backbone)}
        divided: list[dict[str, Any]] = []
        for group in cast("list[dict[str, Any]]", groups):
            for is_head in (False, True):
                weights = [weight for weight in group["params"] if (id(weight) not in of_backbone) == is_head]
                scale = group.get("lr_scale", 1.0) * (self.head_lr if is_head else 1.0)
                divided += [{**group, "params": weights, "lr_scale": scale}] if weights else []
        return divided


class RunLength(NamedTuple):
    """The length of a training.

    Attributes:
        steps: number of optimizer steps.
        epochs: number of epochs; not a whole number if the last epoch is not complete.
    """

    steps: int
    epochs: float


@dataclass(frozen=True, kw_only=True)  # no slots: as above
class ScheduleSettings:
    """A linear warm-up, then a cosine, a line or drops. All depend on step and epoch alone: checkpoints need no state.

    Attributes:
        min_lr: learning rate at the end.
        warmup_lr: learning rate at the first step; None: `min_lr`.
        warmup: length of the warm-up.
        warmup_unit: unit of `warmup`: a share of the run, steps or epochs.
        decay: the learning rate falls to `min_lr` along a `"cosine"` or along a straight line (`"linear"`: others call
            it polynomial decay of power 1).
        cosine: `"run"`: cosine or line cover the whole run, and the warm-up replaces their beginning; `"rest"`: they
            start after the warm-up.
        per: whether the learning rate changes with every `"step"` or every `"epoch"`. In a warm-up whose unit is not
            epochs, it always changes with every step.
        cooldown_epochs: number of epochs at `min_lr` at the end of the run.
        drops: epochs, counted from 0, from which the learning rate is a tenth of what it was before. If there are any,
            they take the place of cosine and line; `min_lr` is then only the usual `warmup_lr`.
    """

    min_lr: float = 1e-5
    warmup_lr: float | None = None
    warmup: float = 0.05
    warmup_unit: WarmupUnit = "share"
    decay: Decay = "cosine"
    cosine: Cosine = "rest"
    per: Per = "step"
    cooldown_epochs: int = 0
    drops: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, value, accepted in (
            ("warmup_unit", self.warmup_unit, get_args(WarmupUnit)),
            ("decay", self.decay, get_args(Decay)),
            ("cosine", self.cosine, get_args(Cosine)),
            ("per", self.per, get_args(Per)),
        ):
            if value not in accepted:
                raise InputError(f"schedule.{name}={value!r}: choose from {accepted}")
        if self.min_lr < 0 or (self.warmup_lr or 0) < 0:
            raise InputError(f"schedule.min_lr={self.min_lr}, schedule.warmup_lr={self.warmup_lr}: must be at least 0")
        if self.warmup < 0 or (self.warmup_unit == "share" and self.warmup >= 1):
            raise InputError(
                f"schedule.warmup={self.warmup} {self.warmup_unit}: must be at least 0, and a share below 1"
            )
        if self.cooldown_epochs < 0:
            raise InputError(f"schedule.cooldown_epochs={self.cooldown_epochs}: must be at least 0")
        if self.drops and (min(self.drops) < 1 or self.cooldown_epochs):
            raise InputError(f"schedule.drops={self.drops}: must be epochs from 1, without cooldown_epochs")

    def lr_at(self, step: int, *, epoch: int, peak: float, run: RunLength) -> float:
        """Return the learning rate of an optimizer step and epoch, both counted from 0."""
        steps_per_epoch = run.steps / run.epochs
        by_epoch = epoch * steps_per_epoch
        warmup_steps = self._warmup_steps(run)
        warmed = by_epoch if self.per == "epoch" and self.warmup_unit == "epochs" else step
        if warmed < warmup_steps:
            first = self.min_lr if self.warmup_lr is None else self.warmup_lr
            return first + (peak - first) * warmed / warmup_steps
        if self.drops:
            return peak * _DROP ** sum(epoch >= drop for drop in self.drops)
        begin = warmup_steps if self.cosine == "rest" else 0
        end = run.steps - self.cooldown_epochs * steps_per_epoch
        now = by_epoch if self.per == "epoch" else step
        progress = min(1.0, max(0.0, now - begin) / max(1.0, end - begin))
        share = 1 - progress if self.decay == "linear" else (1 + math.cos(math.pi * progress)) / 2
        return self.min_lr + (peak - self.min_lr) * share

    def never_peaks(self, run: RunLength) -> bool:
        """Return whether a run is too short to reach the highest learning rate."""
        return self._warmup_steps(run) + self.cooldown_epochs * run.steps / run.epochs >= run.steps

    def _warmup_steps(self, run: RunLength) -> float:
        return {
            "share": round(self.warmup * run.steps),
            "steps": self.warmup,
            "epochs": self.warmup * run.steps / run.epochs,
        }[self.warmup_unit]


def set_lr(optimizer: TorchOptimizer, lr: float) -> None:
    """Set the learning rate of every group of parameters, multiplied by the group's `lr_scale` if it has one."""
    for group in optimizer.param_groups:
        group["lr"] = lr * group.get("lr_scale", 1.0)
