"""The batches of an optimizer step: they count by their images, so that a step equals one large batch."""

from collections.abc import Iterable
from typing import cast, final

import torch
from lightning.pytorch import Trainer
from torch import Tensor, nn

from parckit.tasks.plan import RunPlan


@final
class StepWeights:
    """Weight the batches of an optimizer step by their numbers of images.

    Lightning divides every loss by `accumulate_grad_batches`, and DDP averages the gradients of the processes. Both are
    right only if all batches are full. But the last step of an epoch may have fewer batches, batches of other image
    sizes have other numbers of images, and broken images may be left out. So every loss is multiplied by the images of
    its batch, relative to a full batch. Before the step the gradients are divided by the images of the whole step,
    relative to the same full batches. If all batches are full, both factors are exactly 1.

    Args:
        plan: the size of the run.
        accumulated: number by which Lightning divides every loss.

    Attributes:
        loss_weight: factor of the loss of the present batch.
        images: number of images in this process since the last step.
    """

    def __init__(self, plan: RunPlan, *, accumulated: int) -> None:
        self._batch_size = plan.batch_size
        self._processes = plan.processes
        self._accumulated = accumulated
        self.loss_weight = 1.0
        self.images = 0
        self._full = 0

    def add(self, *, images: int, skipped: int) -> None:
        """Add a batch to the step, and compute the weight of its loss.

        Args:
            images: number of images that the batch has a loss of.
            skipped: number of images of the batch that are left out.
        """
        # Without accumulation, the batches of all processes have the same size before broken images are left out.
        full = self._batch_size if self._accumulated > 1 else images + skipped
        self.loss_weight = images / full
        self.images += images
        self._full = full * self._accumulated

    def complete(self, trainer: Trainer, parameters: Iterable[nn.Parameter]) -> None:
        """Correct the gradients of a step before it is taken, and begin the next step.

        Args:
            trainer: sums over the processes.
            parameters: have the gradients.
        """
        images, full = self.images, self._full
        self.images = self._full = 0
        if self._processes > 1:
            in_this_process = torch.tensor([images, full], device=trainer.strategy.root_device)
            images, full = cast("Tensor", trainer.strategy.reduce(in_this_process, reduce_op="sum")).tolist()
        if images not in {0, full}:
            for parameter in parameters:
                if parameter.grad is not None:
                    parameter.grad.mul_(full / images)
