import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from parckit.contract import InputError
from parckit.tasks import RampedEMA


class Steps(LightningDataModule):
    """Three batches, so three steps an epoch."""

    def train_dataloader(self) -> DataLoader[float]:
        return DataLoader([0.0, 0.0, 0.0])


class Counter(LightningModule):
    """After t steps its weight is -t and its buffer t."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))
        self.register_buffer("steps", torch.zeros(1))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.steps += 1
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.SGD:
        return torch.optim.SGD(self.parameters(), lr=1.0)


def test_the_average_is_the_one_computed_by_hand(fit):
    counter = Counter()
    fit(counter, Steps(), epochs=1, callbacks=[RampedEMA(0.2)])
    # The first step is taken as it is; then 2/11 is below the decay; then 3/12 is not, so 0.2 it is.
    second = 2 / 11 * 1 + 9 / 11 * 2
    third = 0.2 * second + 0.8 * 3
    # One rounding of float32 for each of the few operations.
    assert counter.weight.item() == pytest.approx(-third, rel=1e-6)
    assert counter.steps.item() == pytest.approx(third, rel=1e-6)


def test_a_short_run_hardly_remembers_its_start(fit):
    counter = Counter()
    fit(counter, Steps(), epochs=10, callbacks=[RampedEMA(0.9999)])
    # With a constant decay the average of 30 steps would still be near the first step's weight, -1.
    assert counter.weight.item() < -20


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_a_decay_outside_of_0_and_1_is_refused(decay):
    with pytest.raises(InputError, match=f"ema_decay={decay}"):
        RampedEMA(decay)
