"""What classification does in training: cross-entropy, mixing, distillation."""

from collections.abc import Sequence
from functools import partial
from typing import ClassVar, cast, final

import torch.nn.functional as F
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, Task
from parckit.data import AugmentSettings, TrainTransform, train_transform
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

    Attributes:
        distiller: the loss with a teacher; None without one.

    Raises:
        InputError: if `label_smoothing` is not in [0, 1).
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
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        self._label_smoothing = label_smoothing
        self._augment = augment
        self._mixing = mixing
        self._distillation = distillation
        self._mix: nn.Module | None = None
        self.distiller: Distiller | None = None

    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Refuse a single class: there is nothing to learn."""
        if len(labels) == 1:
            raise InputError(f"{source}: has only the class {labels[0]!r}; is the folder one level too high?")

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
        supervised = partial(F.cross_entropy, target=targets, label_smoothing=self._label_smoothing)
        if self.distiller is None:
            return supervised(network(images))
        return cast("Tensor", self.distiller(network, images, supervised=supervised))

    def validation_losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return plain cross-entropy."""
        (logits,) = outputs
        return F.cross_entropy(logits, targets, reduction="none")
