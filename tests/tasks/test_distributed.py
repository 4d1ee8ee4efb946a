"""Two processes on a CPU train as one does."""

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import training_processes
from backbones import SMALLEST, images, make
from parckit.contract import Preprocessing
from parckit.data import MaskAugmentSettings, eval_transform, open_images
from parckit.tasks import Classify, SyncNorms, TrainingTask
from parckit.tasks.segment import Segment
from pictures import break_picture, write_pictures

CLASSIFIER: dict[str, Any] = {
    "name": "test_parcnet",
    "kwargs": {"img_size": 32, "drop_rate": 0.0, "block_drop_rate": 0.0, "depths": (1, 1, 1)},
    "freeze_norms": True,
}
SEGMENTER: dict[str, Any] = {
    "name": "test_resnet",
    "kwargs": {},
    "head": "upernet",
    "head_kwargs": {"width": 8, "drop_rate": 0.0, "auxiliary": True},
    "freeze_norms": True,
}
OPTIONS = {"batch_size": 8, "on_error": "raise", "precision": "64-true"}
STEPS = 9  # three epochs of 24 images

Record = dict[str, Any]
Runs = Callable[[int], list[Record]]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of 24 pictures to train on and 9 to validate: 5 and 4 of them, two batches of 4 and one."""
    folder = tmp_path_factory.mktemp("pictures")
    write_pictures(folder / "train", count=8)
    write_pictures(folder / "val", count=3, seed=1)
    return folder


@pytest.fixture(scope="module")
def runs(pictures: Path, tmp_path_factory: pytest.TempPathFactory) -> Runs:
    @cache
    def run(processes: int) -> list[Record]:
        return fit(tmp_path_factory.mktemp("run"), pictures, processes=processes, **CLASSIFIER, **OPTIONS)

    return run


def fit(
    out: Path, source: Path | str, *, processes: int, task: TrainingTask | None = None, **options: object
) -> list[Record]:
    """Train; return the record of each process. A single one is this process: forks find ready what it has loaded."""
    arguments = (out, source, options, task or Classify())
    if processes == 1:
        training_processes.fit(*arguments)
    else:
        started = training_processes.fork_together(training_processes.fit, *arguments, processes=processes)
        assert [training_processes.ends(process) for process in started] == [0] * processes
    return [torch.load(out / f"record-{number}", weights_only=True) for number in range(processes)]


def test_two_processes_train_as_one_with_the_same_global_batch(runs):
    assert_as_one(runs(1), runs(2))


def test_two_processes_train_a_segmenter_as_one(tmp_path):
    # Every pixel counts: with padding, the two halves of a batch would have different numbers of pixels.
    task = Segment(augment=MaskAugmentSettings(scale=(1.0, 1.0)), class_weights="sqrt")
    options = SEGMENTER | OPTIONS | {"source": "digit_scenes:24", "task": task}
    runs = []
    for processes in (1, 2):
        (tmp_path / f"{processes}").mkdir()
        runs.append(fit(tmp_path / f"{processes}", processes=processes, **options))
    assert_as_one(*runs)
    assert {"val_miou", "val_pixel_accuracy"} <= runs[0][0]["validations"][0].keys()


def assert_as_one(one: list[Record], two: list[Record]) -> None:
    (alone,), (first, second) = one, two
    # Sums in another order, in float64: some 1e-16 of each number, which AdamW's division by the gradient's own size
    # makes larger.
    assert first["losses"] == pytest.approx(alone["losses"], rel=1e-9)
    assert len(first["losses"]) == STEPS
    assert max(first["losses"]) - min(first["losses"]) > 0.1, "hardly anything was learnt that could differ"
    for key, weight in alone["weights"].items():
        torch.testing.assert_close(first["weights"][key], weight, rtol=1e-9, atol=1e-9)
        assert torch.equal(second["weights"][key], first["weights"][key])
    # Means of float32 numbers.
    for two, one in zip(first["validations"], alone["validations"], strict=True):
        assert two == pytest.approx(one, rel=1e-6)
    assert second["validations"] == first["validations"]


def test_validation_counts_every_image_once(runs, pictures):
    records = runs(2)
    assert [len(record["seen"]) for record in records] == [5, 4]
    assert [record["batches"] for record in records] == [2, 2], "one would wait for the other"
    dataset = open_images(str(pictures), split="val", transform=eval_transform(Preprocessing(size=(32, 32))))
    wanted = torch.stack([sample.image.double().mean((1, 2)) for sample in dataset])
    seen = torch.cat([record["seen"] for record in records])
    # Only the order differs.
    assert torch.equal(seen.sort(0).values, wanted.sort(0).values)
    for validation in records[0]["validations"]:
        right = validation["val_top1"] * len(wanted) / 100
        # Whole images; a mean over the processes' own means or over batches would give fractions.
        assert right == pytest.approx(round(right), abs=1e-5)


def test_a_process_whose_images_are_broken_holds_nobody_up(tmp_path):
    write_pictures(tmp_path / "train", count=8)
    write_pictures(tmp_path / "val", count=1)
    for colour in ("red", "green", "blue"):
        for number in range(3, 8):
            break_picture(tmp_path / "train", number=number, colour=colour)
    options = OPTIONS | CLASSIFIER | {"batch_size": 4, "on_error": "skip"}
    first, second = fit(tmp_path, tmp_path, processes=2, **options)
    assert len(first["losses"]) == len(second["losses"]) == 18
    assert 0.0 in first["losses"]
    assert all(torch.equal(weight, second["weights"][key]) for key, weight in first["weights"].items())
    assert all(weight.isfinite().all() for weight in first["weights"].values())


@pytest.mark.parametrize("name", SMALLEST)
def test_norms_made_synchronous_compute_the_same(name):
    model, batch = make(name, num_classes=3), images(64, 64)
    wanted, keys = model(batch), [*model.state_dict()]
    norms = sum(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    synchronous = SyncNorms().apply(model).eval()
    assert sum(isinstance(module, nn.SyncBatchNorm) for module in synchronous.modules()) == norms
    assert [*synchronous.state_dict()] == keys
    assert torch.equal(synchronous(batch), wanted)
