"""Averages of weights over the steps of a run, and over its best checkpoints."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import WeightAveraging
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from parckit.contract import InputError
from parckit.networks import open_checkpoint, save_weights

_Pair = tuple[list[Tensor], list[Tensor]]
"""Averaged tensors, and the current tensors in the same order."""


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class AveragingSettings:
    """An exponential moving average of weights and buffers (EMA), updated at every optimizer step.

    Attributes:
        decay: share of the average that a step keeps. Some libraries call 1 - decay the momentum.
        ramp: after n updates, keep at most (1 + n) / (10 + n). With a constant decay, the first weights, which are
            random, would count as much as the last weights in a run of a few hundred steps.

    Raises:
        InputError: if `decay` is not in (0, 1).
    """

    decay: float
    ramp: bool = False

    def __post_init__(self) -> None:
        if not 0 < self.decay < 1:
            raise InputError(f"ema.decay={self.decay}: must lie in (0, 1)")

    def decay_at(self, updates: int) -> float:
        """Return the share that the average keeps in the next update, after `updates` updates."""
        return min(self.decay, (1 + updates) / (10 + updates)) if self.ramp else self.decay


class WeightEMA(WeightAveraging):
    """Validate and save the moving average instead of the weights of the last step.

    As in the official ParC-Net, the average begins with the initial weights. Whole numbers are averaged and rounded
    down; these are the norms' counts of batches, which nothing depends on. The official code averages some weights
    twice per step; here every weight is averaged once.
    """

    def __init__(self, averaging: AveragingSettings) -> None:
        super().__init__(use_buffers=True)
        self._averaging = averaging

    def setup(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Copy the initial weights when training begins."""
        if stage == "fit":
            # Lightning moves the module to this device later, after it has loaded the checkpoint.
            device = trainer.strategy.root_device
            self._average_model = _Average(pl_module, averaging=self._averaging, device=device)

    def load_state_dict(self, state_dict: dict[str, object]) -> None:
        """Take the number of the last step from a checkpoint.

        Raises:
            ValueError: if the checkpoint has none. Lightning would notice only after the first step.
        """
        if not isinstance(state_dict.get("latest_update_step"), int):
            raise ValueError("the number of steps of the average is missing")  # a damaged file
        super().load_state_dict(state_dict)


class _Average(AveragedModel):
    """Torch's average, but it collects the tensors of both models only once.

    In networks of many small layers, collecting takes longer than averaging: 4 of 5 ms in `test_parcnet`.
    """

    def __init__(self, model: nn.Module, *, averaging: AveragingSettings, device: torch.device) -> None:
        super().__init__(model, device=device, use_buffers=True)
        # The initial weights count as the first update. Otherwise torch would replace them after the first step.
        self.n_averaged += 1
        self._averaging = averaging
        self._pairs: Sequence[_Pair] = ()

    def update_parameters(self, model: nn.Module) -> None:
        """Add the current weights and buffers of `model` to the average; it must be the same model at every call."""
        self._pairs = self._pairs or _pair(self.module, model)
        # The number of updates is on the model's device. Reading it waits for a GPU, so it is read only if needed.
        updates = int(self.n_averaged) if self._averaging.ramp else 0
        update = get_ema_multi_avg_fn(self._averaging.decay_at(updates))
        for averaged, current in self._pairs:
            update(averaged, current, self.n_averaged)
        self.n_averaged += 1


def average_checkpoints(paths: Sequence[Path], out: Path) -> None:
    """Write the mean of checkpoints' weights and buffers; if writing fails, no partial file is left.

    Args:
        paths: checkpoints of one training, the best one first. Whole numbers are taken from the first one.
        out: the `.safetensors` file to write. It can be evaluated and exported, but a training cannot go on from it.

    Raises:
        InputError: if there are no checkpoints, one of them cannot be opened, or they belong to different models.
    """
    if not paths:
        raise InputError(f"{out}: there are no checkpoints to average")
    model, spec = open_checkpoint(paths[0])
    means = {key: value.double() / len(paths) for key, value in _reals(model).items()}
    for path in paths[1:]:
        other, other_spec = open_checkpoint(path)
        if other_spec != spec:
            raise InputError(f"{path}: its model, labels or preprocessing differ from those of {paths[0]}")
        for key, value in _reals(other).items():
            means[key] += value.double() / len(paths)
    model.load_state_dict(model.state_dict() | means)
    save_weights(model, spec, out)


def _reals(model: nn.Module) -> dict[str, Tensor]:
    return {key: value for key, value in model.state_dict().items() if value.is_floating_point()}


def _pair(averaged: nn.Module, current: nn.Module) -> Sequence[_Pair]:
    """Return the tensors of two models of the same structure as pairs, real and whole numbers separately."""
    first_tensors, second_tensors = (
        [tensor.detach() for tensor in (*model.parameters(), *model.buffers())] for model in (averaged, current)
    )
    pairs = [*zip(first_tensors, second_tensors, strict=True)]
    kinds = ([pair for pair in pairs if pair[0].is_floating_point() is real] for real in (True, False))
    return [([first for first, _ in kind], [second for _, second in kind]) for kind in kinds if kind]
