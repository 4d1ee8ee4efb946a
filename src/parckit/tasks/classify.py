"""Image classification as a LightningModule."""

import math
from collections.abc import Mapping, Sequence
from typing import cast

import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from lightning.pytorch.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from parckit.contract import SPEC_KEY, InputError, ModelSpec, Preprocessing
from parckit.data import Batch
from parckit.models import build_model, check_input
from parckit.tasks.data import MIN_BATCH
from parckit.tasks.optim import AdamWCosine

_OPTIMIZER = AdamWCosine()


class ClassifyTask(LightningModule):
    """Train one of timm's or our models by cross-entropy.

    Checkpoints carry the model's spec, so that they can be opened without this class.

    Args:
        name: the model's name in timm's registry (`parckit list` shows ours).
        kwargs: further keywords of the model.
        optimizer: learning rate, weight decay and schedule.
        label_smoothing: share of the target spread over all classes, in training only.
        channels_last: keep maps with channels innermost, the faster layout for most convolutions on CPUs and GPUs.
        labels: class names by index; comes from the data.
        preprocessing: what the evaluation does to images; comes from the data.

    Raises:
        InputError: if there is no such model, it refuses a keyword, or `label_smoothing` is not in [0, 1).
    """

    def __init__(
        self,
        *,
        name: str,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        kwargs: Mapping[str, object] | None = None,
        optimizer: AdamWCosine = _OPTIMIZER,
        label_smoothing: float = 0.1,
        channels_last: bool = True,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        self.spec = ModelSpec(
            model=name, model_kwargs=dict(kwargs or {}), labels=tuple(labels), preprocessing=preprocessing
        )
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model: nn.Module = build_model(self.spec).to(memory_format=self._memory_format)
        check_input(self.model, self.spec)
        self._optimizer = optimizer
        self._label_smoothing = label_smoothing

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: (B, 3, H, W) -> (B, classes)."""
        return self.model(images.to(memory_format=self._memory_format))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Return the loss; None where broken images left fewer than two, too few for the batch norms."""
        del batch_idx
        if len(batch.targets) < MIN_BATCH:
            return None
        loss = F.cross_entropy(self(batch.images), batch.targets, label_smoothing=self._label_smoothing)
        self.log("train_loss", loss, prog_bar=True, batch_size=len(batch.targets))
        self.log("lr", self.trainer.optimizers[0].param_groups[0]["lr"], batch_size=len(batch.targets))
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Log plain cross-entropy and top-1 in percent, means over all images."""
        del batch_idx
        if not len(batch.targets):
            return
        logits = cast("Tensor", self(batch.images)).float()
        loss = F.cross_entropy(logits, batch.targets)
        top1 = 100 * (logits.argmax(1) == batch.targets).float().mean()
        for name, value in (("val_loss", loss), ("val_top1", top1)):
            self.log(name, value, prog_bar=True, on_epoch=True, batch_size=len(batch.targets), sync_dist=True)

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Build optimizer and schedule for the whole run."""
        steps = self.trainer.estimated_stepping_batches
        if not 0 < steps < math.inf:
            raise InputError("--data: a stream has no length; give --trainer.max_steps, which the schedule needs")
        total_steps = int(steps)
        optimizer, schedule = self._optimizer.build(self.model, total_steps=total_steps)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the spec."""
        checkpoint[SPEC_KEY] = self.spec.to_dict()
