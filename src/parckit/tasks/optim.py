"""The optimiser and its learning-rate schedule."""

import math
from dataclasses import dataclass

from timm.optim import param_groups_weight_decay
from torch import nn
from torch.optim import AdamW
from torch.optim.lr_scheduler import LambdaLR

from parckit.contract import InputError


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class AdamWCosine:
    """AdamW under a cosine that a linear warm-up precedes, both stepped per optimizer step.

    Attributes:
        lr: highest learning rate, reached at the end of the warm-up.
        min_lr: learning rate at the end, and at the first step of the warm-up.
        warmup: share of all steps that the warm-up takes, in [0, 1).
        weight_decay: of tensors with two or more dimensions; norms and biases have none.
    """

    lr: float = 1e-3
    min_lr: float = 1e-5
    warmup: float = 0.05
    weight_decay: float = 0.05

    def __post_init__(self) -> None:
        if not 0 < self.min_lr <= self.lr:
            raise InputError(f"lr={self.lr}, min_lr={self.min_lr}: need 0 < min_lr <= lr")
        if not 0 <= self.warmup < 1:
            raise InputError(f"warmup={self.warmup}: a share of all steps, in [0, 1)")
        if self.weight_decay < 0:
            raise InputError(f"weight_decay={self.weight_decay}: must be at least 0")

    def lr_at(self, step: int, *, total_steps: int) -> float:
        """Return the learning rate of an optimizer step, counted from 0."""
        warmup_steps = round(self.warmup * total_steps)
        if step < warmup_steps:
            return self.min_lr + (self.lr - self.min_lr) * step / warmup_steps
        progress = min(1.0, (step - warmup_steps) / max(1, total_steps - warmup_steps))
        return self.min_lr + (self.lr - self.min_lr) / 2 * (1 + math.cos(math.pi * progress))

    def build(self, model: nn.Module, *, total_steps: int) -> tuple[AdamW, LambdaLR]:
        """Return the optimizer of a model's trainable parameters and its schedule for a run of `total_steps`."""
        groups = param_groups_weight_decay(model, weight_decay=self.weight_decay)
        optimizer = AdamW(groups, lr=self.lr, fused=True)
        return optimizer, LambdaLR(optimizer, lambda step: self.lr_at(step, total_steps=total_steps) / self.lr)
