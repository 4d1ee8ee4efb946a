"""What differs between the tasks in training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from parckit.contract import NetworkSpec, Preprocessing, Task
from parckit.data import OnError, Sampling, Table, Target, TrainTransform
from parckit.measure.evaluators import Evaluator, evaluator_of


class TrainingTask(nn.Module, ABC):
    """What a task does in training. One instance belongs to one run.

    It is a module, so that what is trained beside the network, such as a projection for distillation, reaches the
    optimizer, checkpoints and other processes.

    Attributes:
        name: of the task.
        head: the head that its networks have unless a recipe names another one; `build_task` sets that one.
        monitors: what "best" may mean: name of a validation result -> whether larger is better. The first is the usual.
    """

    name: ClassVar[Task]
    head: str
    monitors: ClassVar[Mapping[str, bool]]

    @property
    def has_validation_loss(self) -> bool:
        """Whether the outputs for validation images tell a loss; known after `begin`."""
        return True

    @property
    def evaluator(self) -> Evaluator:
        """How the task opens, prepares and measures validation data. Engines are evaluated in the same way."""
        return evaluator_of(self.name, head=self.head)

    @abstractmethod
    def check_labels(self, labels: Sequence[str], *, source: str) -> None:
        """Check that a source's classes can be trained on.

        Raises:
            InputError: if not.
        """

    @abstractmethod
    def image_classes(self, table: Table) -> NDArray[np.int64]:
        """Return the class of every training image, for balanced sampling.

        Raises:
            InputError: if an image of this task can have several classes.
        """

    @abstractmethod
    def see_images(self, table: Table, *, sampling: Sampling, on_error: OnError) -> None:
        """Take what the loss needs to know of the training images; called once, before `begin`.

        Args:
            table: the training images.
            sampling: how an epoch draws them.
            on_error: what happens to broken ones.

        Raises:
            InputError: if the settings do not fit the images.
        """

    @property
    @abstractmethod
    def notes(self) -> Sequence[str]:
        """Lines for the user about what follows from settings and data, told before the first step."""

    @abstractmethod
    def train_transform(self, preprocessing: Preprocessing) -> TrainTransform:
        """Return the random change of a training picture and its target."""

    @abstractmethod
    def begin(self, network: nn.Module, spec: NetworkSpec) -> None:
        """Build what depends on the network; called once, before training.

        Raises:
            InputError: if the settings do not go with the network.
        """

    @abstractmethod
    def check_size(self, size: tuple[int, int]) -> None:
        """Check that images of (height, width), pixels, can be trained on.

        Raises:
            InputError: if not.
        """

    @abstractmethod
    def change_batch(self, images: Tensor, targets: Target) -> tuple[Tensor, Target]:
        """Return a training batch after what is done to whole batches, such as mixing.

        Shape:
            images: (B, 3, H, W)
        """

    @abstractmethod
    def loss(self, network: nn.Module, images: Tensor, targets: Target) -> Tensor:
        """Run the network on a training batch and return its loss, a scalar."""

    @abstractmethod
    def validation_losses(self, outputs: Sequence[Tensor], targets: Target) -> Tensor:
        """Return the loss of every validation image, (B,). It is called only if `has_validation_loss`."""
