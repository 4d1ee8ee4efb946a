"""What classification does in training: cross-entropy, mixing, distillation."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, cast, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, Task
from parckit.data import AugmentSettings, OnError, Sampling, Table, TrainTransform, train_transform
from parckit.tasks.class_weights import (
    ClassWeights,
    check_class_weights,
    describe_class_weights,
    resolve_class_weights,
)
from parckit.tasks.distill import DistillationSettings, Distiller
from parckit.tasks.mixing import MixingSettings
from parckit.tasks.task import TrainingTask

_USUAL = AugmentSettings()


@final
class Classify(TrainingTask):
    """Train a classifier by cross-entropy.

    Args:
        label_smoothing: share of the target spread over all classes, in training only.
        mixing: how training mixes the images of a batch; None: not at all.
        distillation: a teacher to learn from beside the labels; None: nobody.
        augment: random changes of the training images.
        class_weights: how much an image of a class counts in the training loss: `balanced` gives all classes the same
            weight in all, `sqrt` goes half the way, `{CLASS: WEIGHT}` leaves 1 to the classes that it does not name,
            `[WEIGHT, ...]` has one for every class. The mean over the images is scaled to 1. None: all
            images count the same.

    Attributes:
        distiller: the loss with a teacher; None without one.

    Raises:
        InputError: if `label_smoothing` is not in [0, 1), or a class weight is negative or too large.
    """

    name: ClassVar[Task] = "classify"
    head = "classifier"
    monitors: ClassVar = {"val_top1": True, "val_loss": False}

    def __init__(
        self,
        *,
        label_smoothing: float = 0.1,
        mixing: MixingSettings | None = None,
        distillation: DistillationSettings | None = None,
        augment: AugmentSettings = _USUAL,
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        check_class_weights(class_weights)
        self._label_smoothing = label_smoothing
        self._wanted_weights: ClassWeights | None = class_weights
        # The weights follow from the recipe and the data, so checkpoints do not hold them. They are no buffer, because
        # Lightning would round it to the precision of the network.
        self._class_weights: Tensor | None = None
        self._notes: list[str] = []
        self._augment = augment
        self._mixing = mixing
        self._distillation = distillation
        self._mix: nn.Module | None = None
        self.distiller: Distiller | None = None

    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Refuse a single class: there is nothing to learn."""
        if len(labels) == 1:
            raise InputError(f"{source}: has only the class {labels[0]!r}; is the folder one level too high?")

    def image_classes(self, table: Table) -> NDArray[np.int64]:
        """Return the class index of every image."""
        return np.asarray(table.targets, dtype=np.int64)

    def see_images(self, table: Table, *, sampling: Sampling, on_error: OnError) -> None:
        """Compute the class weights.

        Raises:
            InputError: if `class_weights` does not fit the classes.
        """
        del on_error
        if self._wanted_weights is None:
            return
        images = np.bincount(self.image_classes(table), minlength=len(table.labels))
        draws = images if sampling == "natural" else (images > 0).astype(np.int64)
        weights = resolve_class_weights(self._wanted_weights, labels=table.labels, counts=draws)
        self._class_weights = torch.tensor(weights, dtype=torch.float32)
        self._notes.append(describe_class_weights(weights, labels=table.labels))

    @property
    def notes(self) -> Sequence[str]:
        """The class weights, if there are any."""
        return self._notes

    def train_transform(self, preprocessing: Preprocessing) -> TrainTransform:
        """Return random crops, flips and colours; the class stays."""
        return train_transform(preprocessing, augment=self._augment)

    def begin(self, network: nn.Module, spec: NetworkSpec) -> None:
        """Build the mixer, and open the teacher."""
        if self._mixing is not None:
            self._mix = self._mixing.build(num_classes=len(spec.labels))
        if self._distillation is not None:
            self.distiller = Distiller(self._distillation, student=network, spec=spec)

    def check_size(self, size: tuple[int, int]) -> None:
        """Check that the teacher can take images of a size."""
        if self.distiller is not None:
            self.distiller.check_input(size)

    def change_batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the images of a batch; mixed targets are probabilities, (B, classes)."""
        return (images, targets) if self._mix is None else self._mix(images, targets)

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return cross-entropy, blended with what the teacher says."""
        supervised = partial(self._cross_entropy, targets=targets)
        if self.distiller is None:
            return supervised(network(images))
        return cast("Tensor", self.distiller(network, images, supervised=supervised))

    def _cross_entropy(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over the images of `- sum(weight * target * log p)` over the classes.

        `target` is 1 for the class of the image, after mixing and smoothing it is a distribution over the classes.
        torch's own mean over weighted images divides by the weights of the batch, which would take them back in
        batches of one class, and would make the loss depend on how images are split into batches and processes.

        Shape:
            logits: (B, classes)
            targets: (B,) class indices, or (B, classes) probabilities
        """
        if self._class_weights is None:
            return F.cross_entropy(logits, targets, label_smoothing=self._label_smoothing)
        logits = logits if logits.dtype == torch.float64 else logits.float()
        self._class_weights = self._class_weights.to(logits)
        losses = F.cross_entropy(
            logits,
            targets.to(logits) if targets.is_floating_point() else targets,
            weight=self._class_weights,
            label_smoothing=self._label_smoothing,
            reduction="none",
        )
        return losses.mean()

    def validation_losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return plain cross-entropy, without smoothing and class weights."""
        (logits,) = outputs
        return F.cross_entropy(logits, targets, reduction="none")
