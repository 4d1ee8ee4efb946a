"""Image classification as a LightningModule."""

import logging
import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer as TorchOptimizer
from torchmetrics import MeanMetric

from parckit.contract import SPEC_KEY, InputError, ModelSpec, Preprocessing
from parckit.data import Batch
from parckit.models import check_input
from parckit.tasks.data import MIN_BATCH, ClassifyData
from parckit.tasks.distill import Distillation, Distiller
from parckit.tasks.distributed import is_distributed
from parckit.tasks.mixing import Mixing
from parckit.tasks.optim import Optimizer, RunLength, Schedule, set_lr
from parckit.tasks.precision import keep_strided_depthwise_float32
from parckit.tasks.weights import initial_model

_log = logging.getLogger(__name__)

_OPTIMIZER = Optimizer()
_SCHEDULE = Schedule()


class ClassifyTask(LightningModule):
    """Train one of timm's or our models by cross-entropy.

    Checkpoints carry the model's spec, so that they can be opened without this class.

    Args:
        name: the model's name in timm's registry (`parckit list` shows ours).
        kwargs: further keywords of the model.
        weights: to start from: `pretrained` for those that timm knows of the model, or a .ckpt or .safetensors file of
            parckit's; a classifier for other classes is left out. None: fresh ones.
        optimizer: which one, its learning rate and weight decay.
        schedule: how the learning rate changes.
        label_smoothing: share of the target spread over all classes, in training only.
        mixing: how training mixes the images of a batch; None: not at all.
        distillation: a teacher to learn from beside the labels; None: nobody.
        freeze_norms: batch norms keep the statistics they have, for fine-tuning with batches too small to renew them.
        channels_last: keep maps with channels innermost, the faster layout for most convolutions on CPUs and GPUs.
        labels: class names by index; comes from the data.
        preprocessing: what the evaluation does to images; comes from the data.
        seed: of what is drawn in training steps, such as dropout.

    Attributes:
        spec: the model, its classes and what it expects of images.
        model: the network.
        optimizer_settings: as given.
        lr: learning rate of the current step, before factors of layers.

    Raises:
        InputError: if there is no such model, it refuses a keyword, `label_smoothing` is not in [0, 1), or the schedule
            ends above the highest learning rate.
    """

    def __init__(
        self,
        *,
        name: str,
        labels: Sequence[str],
        preprocessing: Preprocessing,
        kwargs: Mapping[str, object] | None = None,
        weights: str | None = None,
        optimizer: Optimizer = _OPTIMIZER,
        schedule: Schedule = _SCHEDULE,
        label_smoothing: float = 0.1,
        mixing: Mixing | None = None,
        distillation: Distillation | None = None,
        freeze_norms: bool = False,
        channels_last: bool = True,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        self.spec = ModelSpec(
            model=name, model_kwargs=dict(kwargs or {}), labels=tuple(labels), preprocessing=preprocessing
        )
        self._memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self.model: nn.Module = initial_model(self.spec, weights=weights).to(memory_format=self._memory_format)
        check_input(self.model, self.spec)
        if optimizer.lr < schedule.min_lr:
            raise InputError(f"optimizer.lr={optimizer.lr}: is below schedule.min_lr={schedule.min_lr}")
        self.optimizer_settings = optimizer
        self._schedule = schedule
        self._label_smoothing = label_smoothing
        self._mix = None if mixing is None else mixing.build(num_classes=len(self.spec.labels))
        self.distiller = None if distillation is None else Distiller(distillation, student=self.model, spec=self.spec)
        # Numbers are checked by the guards; a metric's own check would wait for the GPU at every batch.
        self._val_loss = MeanMetric(nan_strategy="disable")
        self._val_top1 = MeanMetric(nan_strategy="disable")
        self._freeze_norms = freeze_norms
        self._seed = seed
        self._run = RunLength(steps=1, epochs=1)
        self.lr = 0.0

    def setup(self, stage: str) -> None:
        """Make the model ready for this machine, and try it and a teacher on images of all sizes that training draws.

        Raises:
            InputError: if one of them cannot take one of the sizes.
        """
        del stage
        if self._is_mixed and self.trainer.strategy.root_device.type == "cpu":
            keep_strided_depthwise_float32(self.model)
        for size in self._data.training_sizes:
            check_input(self.model, self.spec, size=size)
            if self.distiller is not None:
                self.distiller.check_input(size)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits: (B, 3, H, W) -> (B, classes)."""
        return self.model(images.to(memory_format=self._memory_format))

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Return the loss; no loss where broken images left fewer than two, too few for the batch norms."""
        del batch_idx
        if len(batch.targets) < MIN_BATCH:
            return self._no_loss()
        images, targets = batch.images, batch.targets
        if self._mix is not None:
            images, targets = self._mix(images, targets)
        supervised = partial(F.cross_entropy, target=targets, label_smoothing=self._label_smoothing)
        if self.distiller is None:
            loss = supervised(self(images))
        else:
            images = images.to(memory_format=self._memory_format)
            loss = cast("Tensor", self.distiller(self.model, images, supervised=supervised))
        return loss

    def _no_loss(self) -> Tensor | None:
        """Return None, or among several processes a zero whose gradients, zeros, the others are waiting for."""
        if not is_distributed():
            return None
        return torch.stack([0 * weight.sum() for weight in self.parameters() if weight.requires_grad]).sum()

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add up plain cross-entropy and top-1 in percent."""
        del batch_idx
        if not len(batch.targets):
            return
        logits = cast("Tensor", self(batch.images)).float()
        self._val_loss.update(F.cross_entropy(logits, batch.targets, reduction="none"))
        self._val_top1.update(100.0 * (logits.argmax(1) == batch.targets))

    def on_validation_epoch_end(self) -> None:
        """Log the means over all processes' images; those that had none must take part, or the others would wait."""
        self.log("val_loss", self._val_loss, prog_bar=True)
        self.log("val_top1", self._val_top1, prog_bar=True)

    def configure_optimizers(self) -> TorchOptimizer:
        """Build the optimizer; its learning rate is set before every step.

        Raises:
            InputError: if the optimizer cannot be had, or not with the trainer's options.
        """
        # A fused kernel may undo a loss scale itself, too late for clipping; lightning refuses the two together.
        fused = not (self._is_mixed and self.trainer.gradient_clip_val)
        if not fused and self.optimizer_settings.options.get("fused"):
            raise InputError("--model.optimizer.options fused=true: is impossible with clipping in mixed precision")
        optimizer = self.optimizer_settings.build(self.model, lr=self.peak_lr, fused=fused)
        if self.distiller is not None and (learned := list(self.distiller.parameters())):
            optimizer.add_param_group({"params": learned})
        return optimizer

    def on_train_start(self) -> None:
        """Find out how long the run is, and freeze what is to be frozen.

        Raises:
            InputError: if it has no end.
        """
        steps, batches = self.trainer.estimated_stepping_batches, self.trainer.num_training_batches
        if math.isinf(steps):
            raise InputError("--trainer.max_steps: give a number, which the schedule needs; the run has no other end")
        steps_per_epoch = math.ceil(batches / self.trainer.accumulate_grad_batches)
        self._run = RunLength(steps=int(steps), epochs=steps / steps_per_epoch)
        if self._schedule.never_peaks(self._run):
            _log.warning("schedule: warm-up and cooldown take the whole run of %d steps; shorten them", steps)
        for norm in self.model.modules() if self._freeze_norms else ():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                norm.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate, and the generators so that what is drawn depends on nothing that came before."""
        del batch
        epoch = self.trainer.current_epoch
        lr = self._schedule.lr_at(self.trainer.global_step, epoch=epoch, peak=self.optimizer_settings.lr, run=self._run)
        self.lr = lr * self.optimizer_settings.lr_factor(batch=self.effective_batch)
        set_lr(self.trainer.optimizers[0], self.lr)
        drawn = np.random.SeedSequence([self._seed, epoch, batch_idx, self.trainer.global_rank])
        seed = int(drawn.generate_state(1, np.uint64)[0])
        if self.device.type == "cpu":  # torch.manual_seed takes a millisecond to leave a note for CUDA
            torch.random.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    @property
    def effective_batch(self) -> int:
        """Images of one optimizer step: all processes' and all accumulated batches."""
        return self._data.batch_size * self.trainer.world_size * self.trainer.accumulate_grad_batches

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, scaled to the effective batch if the recipe says so."""
        return self.optimizer_settings.lr * self.optimizer_settings.lr_factor(batch=self.effective_batch)

    @property
    def _is_mixed(self) -> bool:
        return str(self.trainer.precision).endswith("-mixed")

    @property
    def _data(self) -> ClassifyData:
        return cast("ClassifyData", self.trainer.datamodule)  # pyright: ignore[reportAttributeAccessIssue]

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the spec."""
        checkpoint[SPEC_KEY] = self.spec.to_dict()
