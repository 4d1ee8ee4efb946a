from pathlib import Path

import pytest
import timm
import torch
from lightning.pytorch import LightningDataModule, LightningModule
from torch import Tensor
from torch.utils.data import DataLoader

from golden_fixtures import needs_shared, read_train_facts
from parckit.contract import InputError, NetworkSpec, Preprocessing
from parckit.networks import open_checkpoint, save_weights
from parckit.tasks import AveragingSettings, WeightEMA, average_checkpoints

SPEC = NetworkSpec(backbone="test_parcnet", labels=("ant", "bee"), preprocessing=Preprocessing(size=(64, 64)))


class Steps(LightningDataModule):
    """Three batches, so three steps per epoch."""

    def train_dataloader(self) -> DataLoader[float]:
        return DataLoader([0.0, 0.0, 0.0])


class Counter(LightningModule):
    """After t steps its weight is 1 - t, its buffer t and its count 4000, where a count of 0 was before."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.ones(1))
        self.register_buffer("steps", torch.zeros(1))
        self.register_buffer("count", torch.tensor(0))

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        self.steps += 1
        self.count.fill_(4000)
        return self.weight.sum()

    def configure_optimizers(self) -> torch.optim.SGD:
        return torch.optim.SGD(self.parameters(), lr=1.0)


class Jump(Counter):
    """From the first step on its weight is the target."""

    def __init__(self, *, start: float, target: float) -> None:
        super().__init__()
        self.weight.data.fill_(start)
        self.target = target

    def on_train_batch_start(self, batch: Tensor, batch_idx: int) -> None:
        self.weight.data.fill_(self.target + 1)


@needs_shared
def test_the_average_is_the_official_one(fit):
    fact = read_train_facts()["ema"]
    jump = Jump(start=fact["start"], target=fact["target"])
    fit(jump, Steps(), epochs=1, callbacks=[WeightEMA(AveragingSettings(decay=1 - fact["momentum"]))])
    assert jump.weight.item() == pytest.approx(fact["after3"], rel=4e-7)  # one rounding of float32 a step
    assert jump.count.item() == fact["num_batches_tracked_after3"]


def test_a_ramped_average_is_the_one_computed_by_hand(fit):
    counter = Counter()
    fit(counter, Steps(), epochs=1, callbacks=[WeightEMA(AveragingSettings(decay=0.2, ramp=True))])
    # 2/11 of the initial weight are kept, which is 1; then 3/12 and 4/13 are above the decay, so 0.2 it is.
    weight, steps = 1.0, 0.0
    for step, decay in ((1, 2 / 11), (2, 0.2), (3, 0.2)):
        weight = decay * weight + (1 - decay) * (1 - step)
        steps = decay * steps + (1 - decay) * step
    # One rounding of float32 for each of the few operations.
    assert counter.weight.item() == pytest.approx(weight, rel=1e-6)
    assert counter.steps.item() == pytest.approx(steps, rel=1e-6)


def test_ramped_a_short_run_hardly_remembers_its_start(fit):
    ramped, constant = Counter(), Counter()
    fit(ramped, Steps(), epochs=10, callbacks=[WeightEMA(AveragingSettings(decay=0.9999, ramp=True))])
    fit(constant, Steps(), epochs=10, callbacks=[WeightEMA(AveragingSettings(decay=0.9999))])
    assert ramped.weight.item() < -20  # of -29 after 30 steps
    assert constant.weight.item() > 0.9


@pytest.mark.parametrize("decay", [0.0, 1.0, -0.5, 2.0])
def test_a_decay_outside_of_0_and_1_is_refused(decay):
    with pytest.raises(InputError, match=f"ema.decay={decay}"):
        AveragingSettings(decay=decay)


def save(path: Path, *, seed: int, spec: NetworkSpec = SPEC) -> dict[str, Tensor]:
    torch.manual_seed(seed)
    model = timm.create_model("test_parcnet", num_classes=len(spec.labels))
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_()
            module.num_batches_tracked.fill_(seed)
    save_weights(model, spec, path)
    return model.state_dict()


def test_the_mean_of_checkpoints_is_the_mean_of_every_tensor(tmp_path):
    paths = [tmp_path / f"{seed}.safetensors" for seed in (7, 8, 9)]
    states = [save(path, seed=seed) for path, seed in zip(paths, (7, 8, 9), strict=True)]
    average_checkpoints(paths, tmp_path / "average.safetensors")
    model, spec = open_checkpoint(tmp_path / "average.safetensors")
    assert spec == SPEC
    for key, value in model.state_dict().items():
        stacked = torch.stack([state[key] for state in states])
        if value.is_floating_point():
            # Computed in float64 as well; one rounding to float32.
            torch.testing.assert_close(value, stacked.double().mean(0).float(), atol=0, rtol=2e-7)
        else:
            assert value == 7, "counts are the best checkpoint's"


def test_only_checkpoints_of_one_model_are_averaged(tmp_path):
    save(tmp_path / "one.safetensors", seed=0)
    other = NetworkSpec(backbone="test_parcnet", labels=("ant", "cat"), preprocessing=SPEC.preprocessing)
    save(tmp_path / "other.safetensors", seed=0, spec=other)
    out = tmp_path / "average.safetensors"
    with pytest.raises(InputError, match=r"other\.safetensors: its model"):
        average_checkpoints([tmp_path / "one.safetensors", tmp_path / "other.safetensors"], out)
    with pytest.raises(InputError, match="there are no checkpoints"):
        average_checkpoints([], out)
    assert not out.exists()
