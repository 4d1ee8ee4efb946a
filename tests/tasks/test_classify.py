from copy import deepcopy

import pytest
import torch
from lightning.pytorch import Callback

from parckit.contract import InputError
from parckit.tasks import Classify


class First(Callback):
    """Keep the model before the first step, and that step's batch and loss."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.model = deepcopy(pl_module.model).train()

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        if batch_idx == 0:
            self.batch, self.loss = batch, outputs["loss"]


def test_the_training_loss_is_smoothed(make_data, train):
    data, first = make_data(), First()
    train(data, limits={"max_epochs": 1}, task=Classify(label_smoothing=0.3), callbacks=[first])
    logs = first.model(first.batch.images).log_softmax(1)
    wanted = torch.full((10, 3), 0.3 / 3)
    wanted[range(10), first.batch.targets] += 0.7
    # A few roundings of float32.
    assert first.loss.item() == pytest.approx(-(wanted * logs).sum(1).mean().item(), rel=1e-5)


@pytest.mark.parametrize("label_smoothing", [1.0, -0.1])
def test_a_smoothing_outside_of_0_and_1_is_refused(label_smoothing):
    with pytest.raises(InputError, match=f"label_smoothing={label_smoothing}"):
        Classify(label_smoothing=label_smoothing)
