"""What segmentation does in training: cross-entropy over the pixels, random changes of a picture with its mask."""

from collections.abc import Sequence
from typing import ClassVar, cast, final

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, Task
from parckit.data import (
    MaskAugmentSettings,
    OnError,
    PixelClasses,
    PixelTargets,
    Sampling,
    Table,
    TrainTransform,
    train_mask_transform,
)
from parckit.networks import Segmenter
from parckit.processing import IGNORED
from parckit.tasks.class_weights import (
    ClassWeights,
    check_class_weights,
    describe_class_weights,
    resolve_class_weights,
)
from parckit.tasks.task import TrainingTask

_USUAL = MaskAugmentSettings()


@final
class Segment(TrainingTask):
    """Train a network that tells the class of every pixel, by cross-entropy.

    The logits are brought to the size of the mask, bilinearly, before they are compared with it.

    Args:
        label_smoothing: share of the target spread over all classes, in training only.
        auxiliary_weight: factor of the loss of the auxiliary head, if the network has one (`auxiliary` among
            `model.head_kwargs`). 0.4 as in arXiv:1612.01105, section 3.3.
        augment: random changes of the training pictures and their masks.
        class_weights: how much a pixel of a class counts in the training loss: `balanced` gives all classes the same
            weight in all, `sqrt` goes half the way, `{CLASS: WEIGHT}` leaves 1 to the classes that it does not name,
            `[WEIGHT, ...]` has one for every class. The mean over the labelled pixels is scaled to 1.
            None: all pixels count the same.

    Raises:
        InputError: if `label_smoothing` is not in [0, 1), or a weight is negative or too large.
    """

    name: ClassVar[Task] = "segment"
    head = "lraspp"
    monitors: ClassVar = {"val_miou": True, "val_pixel_accuracy": True, "val_loss": False}

    def __init__(
        self,
        *,
        label_smoothing: float = 0.0,
        auxiliary_weight: float = 0.4,
        augment: MaskAugmentSettings = _USUAL,
        class_weights: ClassWeights | None = None,
    ) -> None:
        super().__init__()
        if not 0 <= label_smoothing < 1:
            raise InputError(f"label_smoothing={label_smoothing}: must lie in [0, 1)")
        if not 0 <= auxiliary_weight < float("inf"):
            raise InputError(f"auxiliary_weight={auxiliary_weight}: must be a finite number from 0")
        check_class_weights(class_weights)
        self._label_smoothing = label_smoothing
        self._auxiliary_weight = auxiliary_weight
        self._augment = augment
        self._wanted_weights: ClassWeights | None = class_weights
        # Neither in checkpoints nor a buffer, as in `Classify`.
        self._class_weights: Tensor | None = None
        self._notes: list[str] = []

    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Refuse a single class: there is nothing to learn."""
        if len(labels) == 1:
            raise InputError(f"{source}: has only the class {labels[0]!r}; is there none for the background?")

    def image_classes(self, table: Table) -> NDArray[np.int64]:
        """Refuse balanced sampling: a picture has pixels of several classes."""
        del table
        refusal = "data.sampling=balanced: a picture has pixels of several classes; only natural works"
        raise InputError(f"{refusal}. task.class_weights=balanced helps rare classes")

    def see_images(self, table: Table, *, sampling: Sampling, on_error: OnError) -> None:
        """Compute the class weights; to count the pixels, all masks are read.

        Raises:
            InputError: if `class_weights` does not fit the classes, no pixel has a class, or a mask is broken and
                `on_error` is `"raise"`.
        """
        del sampling
        if self._wanted_weights is None:
            return
        pixels = cast("PixelTargets", table.targets).count_pixels(classes=len(table.labels), on_error=on_error)
        if not pixels.any():
            raise InputError("class_weights: no pixel of the training pictures has a class, so there is none to weight")
        weights = resolve_class_weights(self._wanted_weights, labels=table.labels, counts=pixels)
        self._class_weights = torch.tensor(weights, dtype=torch.float32)
        self._notes.append(describe_class_weights(weights, labels=table.labels))

    @property
    def notes(self) -> Sequence[str]:
        """The class weights, if there are any."""
        return self._notes

    def train_transform(self, preprocessing: Preprocessing) -> TrainTransform:
        """Return random scales, crops, flips and colours; the mask moves with the picture."""
        return train_mask_transform(preprocessing, augment=self._augment)

    def begin(self, network: nn.Module, spec: NetworkSpec) -> None:
        """Nothing depends on the network."""

    def check_size(self, size: tuple[int, int]) -> None:
        """Accept every size that the network accepts."""

    def change_batch(self, images: Tensor, targets: Sequence[PixelClasses]) -> tuple[Tensor, Sequence[PixelClasses]]:
        """Return the batch as it is."""
        return images, targets

    def loss(self, network: nn.Module, images: Tensor, targets: Sequence[PixelClasses]) -> Tensor:
        """Return the mean loss over all labelled pixels of the batch, with that of the auxiliary head.

        Raises:
            InputError: if the batch has one image, and the network norms one value per channel and image.
        """
        try:
            logits, auxiliary = cast("Segmenter", network).training_logits(images)
        except ValueError as error:
            if len(images) > 1:
                raise
            raise InputError(f"a batch of one image: this network needs two or more in training ({error})") from error
        classes = _stack(targets)
        loss = self._mean_loss(logits, classes)
        if auxiliary is None or not self._auxiliary_weight:
            return loss
        return loss + self._auxiliary_weight * self._mean_loss(auxiliary, classes)

    def _mean_loss(self, logits: Tensor, classes: Tensor) -> Tensor:
        losses = self._pixel_losses(logits, classes, weights=self._class_weights, smoothing=self._label_smoothing)
        # A batch may have no labelled pixel at all. Its loss is 0.
        return losses.sum() / (classes != IGNORED).sum().clamp(min=1)

    def validation_losses(self, outputs: Sequence[Tensor], targets: Sequence[PixelClasses]) -> Tensor:
        """Return the mean loss of every image over its labelled pixels, without smoothing and class weights."""
        (logits,) = outputs
        classes = _stack(targets)
        sums = self._pixel_losses(logits, classes).sum((1, 2))
        return sums / (classes != IGNORED).sum((1, 2)).clamp(min=1)

    def _pixel_losses(
        self, logits: Tensor, classes: Tensor, *, weights: Tensor | None = None, smoothing: float = 0.0
    ) -> Tensor:
        """Return the loss of every pixel; 0 where nobody knows the class.

        Shape:
            logits: (B, classes, h, w)
            classes: (B, H, W)
            returned: (B, H, W)
        """
        # In float32 or better, whatever the trainer's precision is.
        precise = logits.to(torch.promote_types(logits.dtype, torch.float32))
        whole = F.interpolate(precise, size=classes.shape[1:], mode="bilinear", align_corners=False)
        return F.cross_entropy(
            whole,
            classes,
            weight=None if weights is None else weights.to(whole),
            ignore_index=IGNORED,
            label_smoothing=smoothing,
            reduction="none",
        )


def _stack(targets: Sequence[PixelClasses]) -> Tensor:
    """Return the classes of the pixels of all images, (B, H, W) int64."""
    return torch.stack([target.in_input for target in targets]).long()
