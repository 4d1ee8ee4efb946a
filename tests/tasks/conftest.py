"""A folder of pictures and trainings on it that take seconds."""

from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer

from backbones import as_if_trained
from parckit.contract import NetworkSpec, Preprocessing
from parckit.data import AugmentSettings
from parckit.tasks import (
    AtomicCheckpointIO,
    Classify,
    DataSettings,
    ModelSettings,
    OptimizerSettings,
    Position,
    RunPlan,
    ScheduleSettings,
    TrainingData,
    TrainingModule,
    open_resumable,
    plan_run,
    quiet_lightning,
)
from pictures import write_pictures

MakeData = Callable[..., TrainingData]
MakeModule = Callable[..., TrainingModule]
Fit = Callable[..., Trainer]

PLAIN = AugmentSettings(crop="none")
OPTIMIZER, SCHEDULE = OptimizerSettings(lr=3e-2), ScheduleSettings(warmup=0.2)
KWARGS = {"img_size": 32, "depths": [1, 1, 1], "drop_rate": 0.0, "block_drop_rate": 0.0}


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
    def make(*, seed: int = 0, augment: AugmentSettings = PLAIN, **options: object) -> TrainingData:
        defaults = {
            "source": str(folder),
            "preprocessing": Preprocessing(size=(32, 32), mean=(0.4, 0.4, 0.4), std=(0.2, 0.2, 0.2)),
            "batch_size": 10,
            "workers": 0,
        }
        return TrainingData(DataSettings(**defaults | options), task=Classify(augment=augment), seed=seed)

    return make


@pytest.fixture
def make_module() -> MakeModule:
    def make(
        data: TrainingData, *, task: Classify | None = None, plan: RunPlan | None = None, **options: object
    ) -> TrainingModule:
        defaults = {"name": "test_parcnet", "kwargs": KWARGS, "optimizer": OPTIMIZER, "schedule": SCHEDULE}
        settings = ModelSettings(**defaults | options)
        spec = NetworkSpec(
            backbone=settings.name,
            backbone_kwargs=settings.kwargs,
            labels=data.labels,
            preprocessing=data.settings.preprocessing,
        )
        plan = plan or RunPlan(batch_size=data.settings.batch_size)
        module = TrainingModule(spec, settings=settings, task=task or Classify(), plan=plan, sizes=data.training_sizes)
        as_if_trained(module.model)
        return module

    return make


@pytest.fixture
def make_trainer(tmp_path: Path) -> Callable[..., Trainer]:
    def make(*, callbacks: Sequence[Callback] = (), **options: object) -> Trainer:
        """Return a trainer that writes and shows nothing but what its callbacks do."""
        with quiet_lightning():
            return Trainer(
                accelerator="cpu",
                callbacks=list(callbacks),
                default_root_dir=tmp_path,
                logger=False,
                plugins=[AtomicCheckpointIO()],
                enable_checkpointing=any(hasattr(callback, "best_model_path") for callback in callbacks),
                enable_progress_bar=False,
                enable_model_summary=False,
                **options,
            )

    return make


@pytest.fixture
def fit(make_trainer: Callable[..., Trainer]) -> Fit:
    def run(
        module: LightningModule, data: LightningDataModule, *, epochs: int, callbacks: Sequence[Callback] = ()
    ) -> Trainer:
        """Train any module."""
        trainer = make_trainer(callbacks=callbacks, max_epochs=epochs)
        with quiet_lightning():
            trainer.fit(module, datamodule=data)
        return trainer

    return run


@pytest.fixture
def train(make_trainer: Callable[..., Trainer], make_module: MakeModule) -> Fit:
    def run(
        data: TrainingData,
        *,
        callbacks: Sequence[Callback] = (),
        limits: dict[str, object],
        resume: Path | None = None,
        **options: object,
    ) -> Trainer:
        """Train the module that `make_module` makes with these options; the trainer has it as `lightning_module`."""
        trainer = make_trainer(callbacks=callbacks, **limits)
        start = Position() if resume is None else open_resumable(resume).position
        batch_size, batches = data.settings.batch_size, data.batches_per_epoch(processes=1)
        plan = plan_run(trainer, batch_size=batch_size, batches=batches, start=start)
        data.begin(plan)
        module = make_module(data, plan=plan, **options)
        with quiet_lightning():
            trainer.fit(module, datamodule=data, ckpt_path=resume, weights_only=True)
        return trainer

    return run
