"""What detection does in training: the loss of the head, random changes of a picture with its boxes."""

from collections.abc import Callable, Mapping, Sequence
from typing import ClassVar, Protocol, cast, final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import InputError, NetworkSpec, Preprocessing, Task
from parckit.data import (
    Objects,
    OnError,
    Sampling,
    Scene,
    SceneAugmentSettings,
    Table,
    TrainTransform,
    train_scene_transform,
)
from parckit.networks import HEADS, RCNN, head_of
from parckit.processing import DETECTIONS, SSD, TINYDET, PriorSettings
from parckit.tasks.ssd_loss import SsdLoss
from parckit.tasks.task import TrainingTask
from parckit.tasks.tinydet_loss import TinyDetLoss

_USUAL = SceneAugmentSettings()


class OutputLoss(Protocol):
    """The loss of a head whose outputs are raw maps."""

    def __call__(
        self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]
    ) -> tuple[Tensor, Tensor]:
        """Return for every image the sum of its losses, and what the sums of a batch are divided by.

        Args:
            outputs: of the network.
            objects: ground truth of every image, boxes in pixels of the input.
            size: (height, width) of the images, pixels.

        Shape:
            returned: (B,), (B,)
        """
        ...


class HeadTraining(Protocol):
    """How a head is trained."""

    @property
    def has_validation_loss(self) -> bool:
        """Whether the outputs in eval mode tell a loss."""
        ...

    def batch_loss(self, network: nn.Module, images: Tensor, objects: Sequence[Objects]) -> Tensor:
        """Run the network on a training batch and return its loss, a scalar."""
        ...

    def image_losses(self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]) -> Tensor:
        """Return the loss of every image in validation, (B,); `size` is (height, width) of the images, pixels."""
        ...


@final
class FromOutputs:
    """Training of a single-stage head: the loss is computed from the network's outputs.

    Args:
        loss: the loss.
    """

    has_validation_loss = True

    def __init__(self, loss: OutputLoss) -> None:
        self._loss = loss

    def batch_loss(self, network: nn.Module, images: Tensor, objects: Sequence[Objects]) -> Tensor:
        """Return the sum of the images' losses divided by the number of trained positions in the batch."""
        height, width = images.shape[-2:]
        sums, weights = self._loss(network(images), objects, size=(height, width))
        return sums.sum() / weights.sum().clamp(min=1)

    def image_losses(self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]) -> Tensor:
        """Return the loss of every image by itself."""
        sums, weights = self._loss(outputs, objects, size=size)
        return sums / weights.clamp(min=1)


@final
class FromNetwork:
    """Training of a two-stage head: its proposals stay inside the network, and so does its loss."""

    has_validation_loss = False

    def batch_loss(self, network: nn.Module, images: Tensor, objects: Sequence[Objects]) -> Tensor:
        """Return the sum of all losses that the network gives."""
        losses = cast("RCNN", network).losses(images, objects)
        return torch.stack(list(losses.values())).sum()

    def image_losses(self, outputs: Sequence[Tensor], objects: Sequence[Objects], *, size: tuple[int, int]) -> Tensor:
        """Refuse: a loss cannot be computed from detections."""
        raise NotImplementedError("a loss cannot be computed from detections")


TRAININGS: Mapping[str, Callable[[Mapping[str, object]], HeadTraining]] = {
    SSD: lambda parameters: FromOutputs(SsdLoss(PriorSettings(**parameters))),  # pyright: ignore[reportArgumentType] - see make_decoder
    TINYDET: lambda parameters: FromOutputs(TinyDetLoss(**parameters)),  # pyright: ignore[reportArgumentType]
    DETECTIONS: lambda _: FromNetwork(),
}
"""Name of a decoder -> how the networks that it decodes are trained, from its parameters."""


@final
class Detect(TrainingTask):
    """Train a detector.

    Args:
        augment: random changes of the training pictures and their boxes.
    """

    name: ClassVar[Task] = "detect"
    head = "tinydet"
    monitors: ClassVar = {"val_map": True, "val_map_50": True, "val_loss": False}

    def __init__(self, *, augment: SceneAugmentSettings = _USUAL) -> None:
        super().__init__()
        self._augment = augment
        self._training: HeadTraining | None = None
        self._size = (0, 0)

    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Refuse a source without classes."""
        if not labels:
            raise InputError(f"{source}: has no classes")

    def image_classes(self, table: Table) -> NDArray[np.int64]:
        """Refuse balanced sampling: a picture can have objects of several classes."""
        del table
        raise InputError("data.sampling=balanced: a picture can have objects of several classes; only natural works")

    def see_images(self, table: Table, *, sampling: Sampling, on_error: OnError) -> None:
        """Check that the objects have masks if the head is trained on masks.

        Raises:
            InputError: if they have none.
        """
        del sampling, on_error
        head = HEADS.get((self.name, self.head))
        if head is not None and head.has_masks and table.targets[0].masks is None:
            some = f"{table.name(0)} and the other pictures to train on"
            raise InputError(f"head={self.head}: needs a mask of every object, and not all objects of {some} have one")

    @property
    def notes(self) -> Sequence[str]:
        """Nothing to tell."""
        return ()

    def train_transform(self, preprocessing: Preprocessing) -> TrainTransform:
        """Return random crops, flips and colours; the boxes move with the picture."""
        return train_scene_transform(preprocessing, augment=self._augment)

    def begin(self, network: nn.Module, spec: NetworkSpec) -> None:
        """Take how the network's head is trained."""
        del network
        decoder = head_of(spec).decoder(spec)
        self._training = TRAININGS[decoder.name](decoder.parameters)
        self._size = spec.preprocessing.size

    def check_size(self, size: tuple[int, int]) -> None:
        """Accept every size that the network accepts."""

    def change_batch(self, images: Tensor, targets: Sequence[Scene]) -> tuple[Tensor, Sequence[Scene]]:
        """Return the batch as it is."""
        return images, targets

    def loss(self, network: nn.Module, images: Tensor, targets: Sequence[Scene]) -> Tensor:
        """Return the loss that the head's training gives."""
        return self._head.batch_loss(network, images, [scene.objects for scene in targets])

    @property
    def has_validation_loss(self) -> bool:
        """Whether the head's outputs tell a loss: those of two-stage detectors do not."""
        return self._head.has_validation_loss

    def validation_losses(self, outputs: Sequence[Tensor], targets: Sequence[Scene]) -> Tensor:
        """Return the loss of every image by itself."""
        return self._head.image_losses(outputs, [scene.objects for scene in targets], size=self._size)

    @property
    def _head(self) -> HeadTraining:
        if self._training is None:
            raise RuntimeError("Detect.begin was not called")
        return self._training
