"""The one LightningModule: it trains a network for any task."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast, final

import numpy as np
import torch
from lightning.pytorch import LightningModule
from torch import Tensor, nn
from torch.optim import Optimizer
from torchmetrics import MeanMetric, Metric

from parckit.contract import SPEC_KEY, InputError, NetworkSpec, image_groups
from parckit.data import Batch, Target
from parckit.networks import check_input, head_of
from parckit.processing import Geometry, make_decoder
from parckit.tasks.accumulation import StepWeights
from parckit.tasks.distributed import is_distributed
from parckit.tasks.errors import DivergedError
from parckit.tasks.freezing import Freeze, freeze
from parckit.tasks.optim import OptimizerSettings, RunLength, ScheduleSettings, set_lr
from parckit.tasks.plan import RunPlan
from parckit.tasks.precision import keep_strided_depthwise_float32
from parckit.tasks.task import TrainingTask
from parckit.tasks.weights import initial_network

_log = logging.getLogger(__name__)

MIN_BATCH = 2
"""Batch norms behind a global mean see one value per image and channel, and cannot train on a single one."""


def has_loss(batch: Batch) -> bool:
    """Return whether a training batch has a loss: enough images for the batch norms."""
    return len(batch.targets) >= MIN_BATCH


@dataclass(frozen=True, kw_only=True)  # no slots: jsonargparse reads a default instance with vars()
class ModelSettings:
    """The network of a recipe, and how its weights change.

    Attributes:
        name: the backbone's name in timm's registry (`parckit list` shows ours).
        kwargs: further keywords of the backbone.
        head: name of the head; None: the task's usual one.
        head_kwargs: further keywords of the head.
        weights: where training starts: `pretrained` for the weights that timm knows of the backbone, or a .ckpt or
            .safetensors file of parckit's; a classifier for other classes is left out. None: fresh weights.
        optimizer: which one, its learning rate and weight decay.
        schedule: how the learning rate changes.
        freeze: what keeps its weights and its norms' statistics: `backbone` for everything but the head, or N for
            everything up to the end of stage N, counted from 1. None: everything is trained.
        freeze_norms: batch norms keep the statistics they have, for fine-tuning with batches too small to renew them.
        channels_last: keep maps with channels innermost, the faster layout for most convolutions on CPUs and GPUs.

    Raises:
        InputError: if the schedule ends above the highest learning rate.
    """

    name: str
    kwargs: Mapping[str, object] | None = None
    head: str | None = None
    head_kwargs: Mapping[str, object] | None = None
    weights: str | None = None
    optimizer: OptimizerSettings = field(default_factory=OptimizerSettings)
    schedule: ScheduleSettings = field(default_factory=ScheduleSettings)
    freeze: Freeze | None = None
    freeze_norms: bool = False
    channels_last: bool = True

    def __post_init__(self) -> None:
        if self.optimizer.lr < self.schedule.min_lr:
            raise InputError(f"optimizer.lr={self.optimizer.lr}: is below schedule.min_lr={self.schedule.min_lr}")


@final
class TrainingModule(LightningModule):
    """Train a network as its task says.

    Checkpoints carry the network's spec, so that they can be opened without this class.

    Args:
        spec: the network.
        settings: its weights, optimizer and schedule.
        task: loss and metric.
        plan: the size of the run.
        sizes: sizes (height, width) of the training images, pixels.
        seed: of what is drawn in training steps, such as dropout.

    Attributes:
        spec: as given.
        model: the network.
        task: as given.
        settings: as given.
        plan: as given.
        sizes: as given.
        lr: learning rate of the current step, before factors of layers.

    Raises:
        InputError: if the network cannot be built, or takes no images of one of the sizes.
    """

    def __init__(
        self,
        spec: NetworkSpec,
        *,
        settings: ModelSettings,
        task: TrainingTask,
        plan: RunPlan,
        sizes: Sequence[tuple[int, int]],
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.spec = spec
        self.settings = settings
        self.plan = plan
        self.sizes = tuple(sizes)
        self.lr = 0.0
        self._seed = seed
        self._memory_format = torch.channels_last if settings.channels_last else torch.contiguous_format
        self.model: nn.Module = initial_network(spec, weights=settings.weights).to(memory_format=self._memory_format)
        self._frozen = [] if settings.freeze is None else freeze(self.model, settings.freeze, spec=spec)
        task.begin(self.model, spec)
        self.task = task
        for size in {spec.preprocessing.size, *sizes}:
            check_input(self.model, spec, size=size)
            task.check_size(size)
        # The guards check numbers; a metric's own check would wait for the GPU at every batch.
        self._val_loss = MeanMetric(nan_strategy="disable")
        self._metric = task.evaluator.metric(spec)
        self._step = StepWeights(plan, accumulated=plan.accumulated)
        self._decoder = make_decoder(head_of(spec).decoder(spec), spec, overrides=task.evaluator.decoding)

    def setup(self, stage: str) -> None:
        """Make the network ready for this machine and this trainer."""
        del stage
        self._step = StepWeights(self.plan, accumulated=self.trainer.accumulate_grad_batches)
        if self._is_mixed and self.trainer.strategy.root_device.type == "cpu":
            keep_strided_depthwise_float32(self.model)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs for (B, 3, H, W) images."""
        outputs = self.model(images.to(memory_format=self._memory_format))
        return (outputs,) if isinstance(outputs, Tensor) else tuple(outputs)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor | None:
        """Return the loss; no loss where broken images left fewer than two, too few for the batch norms."""
        del batch_idx
        images = len(batch.targets) if has_loss(batch) else 0
        self._step.add(images=images, skipped=len(batch.targets) + batch.skipped - images)
        if not images:
            return self._no_loss()
        pictures, targets = self.task.change_batch(batch.images, batch.targets)
        loss = self.task.loss(self.model, pictures.to(memory_format=self._memory_format), targets)
        return loss if self.loss_weight == 1 else loss * self.loss_weight

    @property
    def loss_weight(self) -> float:
        """Factor of the loss of the present batch; see `StepWeights`."""
        return self._step.loss_weight

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        """Let the batches of the step count by their images."""
        del optimizer
        self._step.complete(self.trainer, self.parameters())

    def _no_loss(self) -> Tensor | None:
        """Return None, or a zero loss, whose gradients are zeros, if other processes or batches of the step need it."""
        if not is_distributed() and not self._step.images:
            return None
        return torch.stack([0 * weight.sum() for weight in self.parameters() if weight.requires_grad]).sum()

    def on_validation_epoch_start(self) -> None:
        """Keep the mean loss in float32, also if the trainer has made everything else half precision."""
        if self._val_loss.mean_value.dtype.itemsize < torch.float32.itemsize:
            self._val_loss.set_dtype(torch.float32)

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Add the batch to the mean loss and to the task's metric.

        Raises:
            DivergedError: if an output is not finite.
        """
        del batch_idx
        for group in image_groups(head_of(self.spec).outputs(self.spec), count=len(batch.targets)):
            if group.stop > group.start:
                self._validate(batch.images[group], batch.targets[group], batch.geometries[group])

    def _validate(self, images: Tensor, targets: Target, geometries: Sequence[Geometry]) -> None:
        """Add images that the network takes at once."""
        raw = cast("tuple[Tensor, ...]", self(images))
        outputs = [output.float() if output.is_floating_point() else output for output in raw]
        arrays = [output.cpu().numpy() for output in outputs]
        if not all(np.isfinite(array).all() for array in arrays):
            when = f"the validation after step {self.trainer.global_step} (epoch {self.trainer.current_epoch})"
            raise DivergedError(f"an output of the network is not finite in {when}; lower --model.optimizer.lr")
        if self.task.has_validation_loss:
            self._val_loss.update(self.task.validation_losses(outputs, targets))
        self._metric.update(self._decoder(arrays, geometries), targets)

    def on_validation_epoch_end(self) -> None:
        """Log the results over all processes' images; those that had none must take part, or the others would wait."""
        metric = cast("Metric", self._metric)
        if self.trainer.sanity_checking:
            # In one of the processes, the trial batches before the first epoch may all be broken.
            self._val_loss.reset()
        else:
            if self.task.has_validation_loss:
                self.log("val_loss", self._val_loss, prog_bar=True)
            for name, value in self._metric.compute().items():
                self.log(f"val_{name}", value, prog_bar=f"val_{name}" in self.task.monitors)
        metric.reset()

    def configure_optimizers(self) -> Optimizer:
        """Build the optimizer; its learning rate is set before every step.

        Raises:
            InputError: if the optimizer cannot be had, or not with the trainer's options.
        """
        settings = self.settings.optimizer
        # A fused kernel may undo a loss scale itself, too late for clipping; lightning refuses the two together.
        fused = not (self._is_mixed and self.trainer.gradient_clip_val)
        if not fused and settings.options.get("fused"):
            raise InputError("--model.optimizer.options fused=true: is impossible with clipping in mixed precision")
        optimizer = settings.build(self.model, lr=self.peak_lr, fused=fused, backbone=head_of(self.spec).backbone)
        if trained_beside := list(self.task.parameters()):
            optimizer.add_param_group({"params": trained_beside})
        return optimizer

    def on_train_start(self) -> None:
        """Warn of a schedule that never reaches its highest rate, and freeze what is to be frozen."""
        if self.settings.schedule.never_peaks(self._length):
            _log.warning("schedule: warm-up and cooldown take the whole run of %d steps; shorten them", self.plan.steps)
        for norm in self.model.modules() if self.settings.freeze_norms else ():
            if isinstance(norm, nn.BatchNorm1d | nn.BatchNorm2d | nn.SyncBatchNorm):
                norm.eval()
        for part in self._frozen:
            part.eval()

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Set the learning rate, and the generators so that what is drawn depends on nothing that came before."""
        del batch
        epoch, settings = self.trainer.current_epoch, self.settings.optimizer
        lr = self.settings.schedule.lr_at(self.trainer.global_step, epoch=epoch, peak=settings.lr, run=self._length)
        self.lr = lr * settings.lr_factor(batch=self.plan.effective_batch)
        set_lr(self.trainer.optimizers[0], self.lr)
        entropy = np.random.SeedSequence([self._seed, epoch, batch_idx, self.trainer.global_rank])
        seed = int(entropy.generate_state(1, np.uint64)[0])
        if self.device.type == "cpu":  # torch.manual_seed takes a millisecond to leave a note for CUDA
            torch.random.default_generator.manual_seed(seed)
        else:
            torch.manual_seed(seed)

    @property
    def peak_lr(self) -> float:
        """The highest learning rate, scaled to the effective batch if the recipe says so."""
        settings = self.settings.optimizer
        return settings.lr * settings.lr_factor(batch=self.plan.effective_batch)

    @property
    def _length(self) -> RunLength:
        return RunLength(steps=self.plan.steps, epochs=self.plan.length_in_epochs)

    @property
    def _is_mixed(self) -> bool:
        return str(self.trainer.precision).endswith("-mixed")

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        """Add the spec."""
        checkpoint[SPEC_KEY] = self.spec.to_dict()
