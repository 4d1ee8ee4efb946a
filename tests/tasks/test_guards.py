from pathlib import Path

import pytest
import torch
from lightning.pytorch import LightningDataModule, LightningModule, Trainer
from torch import Tensor, nn
from torch.utils.data import DataLoader

from parckit.contract import SPEC_KEY
from parckit.data import Batch
from parckit.tasks import DivergedError, SaveLast, StopOnNaN, quiet_lightning


class Images(LightningDataModule):
    """Batches of two images a pixel large, each the batch's number in value; the fourth makes the loss infinite."""

    def train_dataloader(self) -> DataLoader[Batch]:
        values = [0.0, 1.0, 2.0, float("inf"), 4.0]
        batches = [Batch(torch.full((2, 3, 1, 1), value), torch.tensor([0, 1]), 0) for value in values]
        return DataLoader(batches, batch_size=None)


class Pixel(LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(3, 2)

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        return nn.functional.cross_entropy(self.layer(batch.images.flatten(1)), batch.targets)

    def configure_optimizers(self) -> torch.optim.SGD:
        return torch.optim.SGD(self.parameters(), lr=0.1)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint[SPEC_KEY] = {"model": "pixel"}


def fit(task: LightningModule, folder: Path) -> None:
    with quiet_lightning():
        trainer = Trainer(
            accelerator="cpu",
            max_epochs=2,
            # Checkpoints at every step: none may hold what the guard is there against.
            callbacks=[StopOnNaN(folder), SaveLast(folder, minutes=1e-9)],
            logger=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(task, datamodule=Images())


def test_a_loss_that_is_no_number_stops_the_run_and_the_batch_is_saved(tmp_path):
    torch.manual_seed(0)
    task = Pixel()
    with pytest.raises(DivergedError) as error:
        fit(task, tmp_path)
    path = tmp_path / "nan-step3.ckpt"
    assert str(error.value).startswith(f"the loss is nan at step 3 (epoch 0, batch 3); {path} holds the batch")
    evidence = torch.load(path, weights_only=True)
    assert (evidence["global_step"], evidence["epoch"], evidence["batch_idx"]) == (3, 0, 3)
    assert evidence[SPEC_KEY] == {"model": "pixel"}
    weights = {key: value.clone() for key, value in task.state_dict().items()}
    last = torch.load(tmp_path / "last.ckpt", weights_only=True)
    assert last["global_step"] == 3
    for key, value in evidence["state_dict"].items():
        assert value.isfinite().all()
        assert torch.equal(value, weights[key])
        assert torch.equal(value, last["state_dict"][key])
    # What was saved is enough to see it again.
    assert task.training_step(Batch(**evidence["batch"], skipped=0), 0).isnan()
