"""A folder of pictures and trainings on it that take seconds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from backbones import as_if_trained
from parckit.contract import Preprocessing
from parckit.data import Augment
from parckit.tasks import ClassifyData, ClassifyTask, Optimizer, Schedule, quiet_lightning
from pictures import write_pictures

MakeData = Callable[..., ClassifyData]
MakeTask = Callable[..., ClassifyTask]
Fit = Callable[..., Trainer]

OPTIMIZER, SCHEDULE = Optimizer(lr=3e-2), Schedule(warmup=0.2)
KWARGS = {"img_size": 32, "depths": (1, 1, 1), "drop_rate": 0.0, "block_drop_rate": 0.0}


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder of 30 pictures to train on and 6 to validate."""
    write_pictures(tmp_path / "pictures" / "train", count=10)
    write_pictures(tmp_path / "pictures" / "val", count=2, seed=1)
    return tmp_path / "pictures"


@pytest.fixture
def make_data(folder: Path) -> MakeData:
    def make(**options: object) -> ClassifyData:
        defaults = {
            "source": str(folder),
            "preprocessing": Preprocessing(size=(32, 32), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)),
            "augment": Augment(crop="none"),
            "batch_size": 10,
            "workers": 0,
        }
        return ClassifyData(**defaults | options)

    return make


@pytest.fixture
def make_task() -> MakeTask:
    def make(data: ClassifyData, **options: object) -> ClassifyTask:
        defaults = {
            "name": "test_parcnet",
            "kwargs": KWARGS,
            "labels": data.labels,
            "preprocessing": data.preprocessing,
            "optimizer": OPTIMIZER,
            "schedule": SCHEDULE,
        }
        task = ClassifyTask(**defaults | options)
        as_if_trained(task.model)
        return task

    return make


@pytest.fixture
def fit(tmp_path: Path) -> Fit:
    def run(
        task: LightningModule,
        data: LightningDataModule,
        *,
        epochs: int,
        callbacks: Sequence[Callback] = (),
        resume: Path | None = None,
    ) -> Trainer:
        with quiet_lightning():
            trainer = Trainer(
                accelerator="cpu",
                max_epochs=epochs,
                callbacks=list(callbacks),
                default_root_dir=tmp_path,
                logger=False,
                enable_checkpointing=any(hasattr(callback, "best_model_path") for callback in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
            )
            trainer.fit(task, datamodule=data, ckpt_path=resume, weights_only=True)
        return trainer

    return run
