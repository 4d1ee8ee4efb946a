"""What differs between classification, detection and segmentation in training."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from parckit.contract import NetworkSpec, Preprocessing, Task
from parckit.data import AugmentSettings, Collate, Table, TrainTransform, Transform
from parckit.measure.evaluation import TaskMetric


class TrainingTask(nn.Module, ABC):
    """What a task does in training. One instance belongs to one run.

    It is a module, so that what is trained beside the network, such as a projection for distillation, reaches the
    optimizer, checkpoints and other processes.

    Attributes:
        name: of the task.
        head: the head that its networks have unless a recipe names another one.
        monitors: what "best" may mean: name of a validation result -> whether larger is better. The first is the usual.
    """

    name: ClassVar[Task]
    head: ClassVar[str]
    monitors: ClassVar[Mapping[str, bool]]

    @abstractmethod
    def open_table(self, source: str, *, split: str) -> Table:
        """Open a split of a source.

        Raises:
            InputError: if it cannot be opened, or cannot be trained on.
        """

    @abstractmethod
    def train_transform(self, preprocessing: Preprocessing, *, augment: AugmentSettings) -> TrainTransform:
        """Return the random change of a training picture and of what is true of it."""

    @abstractmethod
    def eval_transform(self, preprocessing: Preprocessing) -> Transform:
        """Return the preprocessing of a validation picture and of what is true of it."""

    @property
    @abstractmethod
    def collate(self) -> Collate:
        """The function that makes a batch of samples."""

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
    def change_batch(self, images: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
        """Return a training batch after what is done to whole batches, such as mixing.

        Shape:
            images: (B, 3, H, W)
        """

    @abstractmethod
    def loss(self, network: nn.Module, images: Tensor, targets: Tensor) -> Tensor:
        """Run the network on a training batch and return its loss, a scalar."""

    @abstractmethod
    def validation_losses(self, outputs: Sequence[Tensor], targets: Tensor) -> Tensor:
        """Return the loss of every validation image, (B,)."""

    @abstractmethod
    def make_metric(self, spec: NetworkSpec) -> TaskMetric:
        """Return an empty metric; its scalars are logged as `val_NAME`."""
