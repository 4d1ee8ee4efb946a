"""What training does for several labels an image: a loss for every label by itself."""

from collections.abc import Sequence
from typing import ClassVar, Literal, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import CLASSIFIER, InputError, NetworkSpec, Preprocessing, Task
from parckit.data import AugmentSettings, OnError, Sampling, Table, TrainTransform, count_images, train_transform
from parckit.tasks.mixing import MixingSettings
from parckit.tasks.task import TrainingTask

PosWeight = Literal["balanced"]

_USUAL = AugmentSettings()
_LARGEST_WEIGHT = 100.0
"""A rarer label is not weighted more: a single image would decide a whole step."""
_MOST_SHOWN = 10
"""Up to this number of labels, all weights fit a line."""


@final
class Multilabel(TrainingTask):
    """Train a network that tells for every label whether an image has it, by binary cross-entropy.

    Args:
        label_smoothing: how far targets move from 0 and 1 towards 1/2, as a share of this distance, in training only.
        mixup: images are mixed in pairs, and their labels in the same proportion, drawn from Beta(alpha, alpha); this
            is alpha (arXiv:1710.09412); 0: not at all. There is no CutMix, because it may cut
            away the only object that a label stands for.
        augment: random changes of the training images.
        pos_weight: `balanced` lets the images that have a label count as much as those that do not have it, up to 100
            times; None: all count the same.

    Raises:
        InputError: if `label_smoothing` is not in [0, 1), `mixup` is negative, or `pos_weight` is unknown.
    """

    name: ClassVar[Task] = "multilabel"
    head = CLASSIFIER
    monitors: ClassVar = {"val_map": True, "val_f1_macro": True, "val_f1_micro": True, "val_loss": False}

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        mixup: float = 0.0,
        augment: AugmentSettings = _USUAL,
        pos_weight: PosWeight | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        if mixup < 0:
            raise InputError(f"mixup={mixup}: must be 0 or more")
        if pos_weight not in (None, "balanced"):
            raise InputError(f"pos_weight={pos_weight!r}: must be balanced or null")
        self._label_smoothing = label_smoothing
        self._mixup = mixup
        self._augment = augment
        self._wants_weights = pos_weight is not None
        self._mix: nn.Module | None = None
        self._notes: list[str] = []
        # Not a buffer: a trainer with `*-true` precision would round it.
        self._pos_weight: Tensor | None = None

    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Refuse a single label: that would be two classes."""
        if len(labels) == 1:
            raise InputError(f"{source}: has only the label {labels[0]!r}; train task classify on two classes instead")

    def image_classes(self, table: Table) -> NDArray[np.int64]:
        """Refuse balanced sampling: an image belongs to several classes.

        Raises:
            InputError: always.
        """
        del table
        refusal = "--data.sampling balanced: is impossible where images have several labels"
        raise InputError(f"{refusal}; --task.pos_weight balanced helps rare labels")

    def see_images(self, table: Table, *, sampling: Sampling, on_error: OnError) -> None:
        """Note the labels that cannot be learned, and compute the weights."""
        del sampling, on_error
        images = count_images(table.targets, classes=len(table.labels))
        if lacking := [label for label, count in zip(table.labels, images.tolist(), strict=True) if not count]:
            self._notes.append(f"no training image has the label {', '.join(lacking)}")
        if not self._wants_weights:
            return
        others = len(table.targets) - images
        weights = np.minimum(np.maximum(others, 1) / np.maximum(images, 1), _LARGEST_WEIGHT)
        self._pos_weight = torch.tensor(weights, dtype=torch.float32)
        shown = [f"{label} {weight:.3g}" for label, weight in zip(table.labels, weights, strict=True)]
        told = ", ".join(shown) if len(shown) <= _MOST_SHOWN else f"{weights.min():.3g} to {weights.max():.3g}"
        self._notes.append(f"weights of images that have the label: {told}")

    @property
    def notes(self) -> Sequence[str]:
        """The weights, if there are any."""
        return self._notes

    def train_transform(self, preprocessing: Preprocessing) -> TrainTransform:
        """Return random crops, flips and colours; the labels stay."""
        return train_transform(preprocessing, augment=self._augment)

    def begin(self, network: nn.Module, spec: NetworkSpec) -> None:
        """Build the mixer."""
        del network
        if self._mixup:
            self._mix = MixingSettings(mixup=self._mixup, cutmix=0.0).build(num_classes=len(spec.labels))

    def check_size(self, size: tuple[int, int]) -> None:
        """Accept every size."""

    def change_batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Mix the images of a batch; mixed labels lie between 0 and 1."""
        return (images, targets) if self._mix is None else self._mix(images, targets)

    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Return the mean over images and labels."""
        logits = network(images)
        # In float32 or better, whatever the trainer's precision is.
        precise = torch.promote_types(logits.dtype, torch.float32)
        smoothed = targets.to(precise) * (1 - self._label_smoothing) + self._label_smoothing / 2
        weight = None if self._pos_weight is None else self._pos_weight.to(logits.device, precise)
        return F.binary_cross_entropy_with_logits(logits.to(precise), smoothed, pos_weight=weight)

    def validation_losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return the plain loss of every image, without smoothing and weights."""
        (logits,) = outputs
        return F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none").mean(dim=1)
