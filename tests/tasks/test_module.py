from copy import deepcopy
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint
from torch import nn

from parckit.contract import SPEC_KEY, InputError, NetworkSpec
from parckit.data import Batch, Progressive
from parckit.models import create_model
from parckit.networks import open_checkpoint, save_weights
from parckit.tasks import (
    AveragingSettings,
    Classify,
    DistillationSettings,
    OptimizerSettings,
    RunLength,
    RunPlan,
    ScheduleSettings,
    WeightEMA,
)
from training_state import assert_same

EMA = AveragingSettings(decay=0.5)


class Record(Callback):
    """Keep what a run tells: rates and losses by step, and what each validation found."""

    def __init__(self) -> None:
        self.rates: list[float] = []
        self.losses: list[float] = []
        self.validations: list[dict[str, float]] = []

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        self.rates.append(trainer.optimizers[0].param_groups[0]["lr"])
        self.losses.append(outputs["loss"].item())

    def on_validation_end(self, trainer, pl_module) -> None:
        if not trainer.sanity_checking:
            self.validations.append({name: trainer.callback_metrics[name].item() for name in ("val_loss", "val_top1")})


def every_epoch(folder: Path) -> ModelCheckpoint:
    return ModelCheckpoint(folder, filename="{epoch}", save_top_k=-1)


@torch.no_grad()
def validate(model: nn.Module, batches: list[Batch]) -> dict[str, float]:
    """Compute what the task logs, over all images at once."""
    logits = model(torch.cat([batch.images for batch in batches]))
    targets = torch.cat([batch.targets for batch in batches])
    top1 = 100 * (logits.argmax(1) == targets).double().mean().item()
    return {"val_loss": F.cross_entropy(logits, targets).item(), "val_top1": top1}


def test_training_learns(make_data, train):
    data, record = make_data(), Record()
    train(data, limits={"max_epochs": 8}, callbacks=[record])
    # Guessing among three classes costs log(3), 1.1; smoothing asks for no certainty and keeps the loss above 0.29.
    assert sum(record.losses[:3]) / 3 > 0.9
    assert sum(record.losses[-3:]) / 3 < 0.6
    assert record.validations[-1]["val_loss"] < 0.5


def test_validations_in_half_precision_count_in_full_precision(make_data, train):
    trainer = train(make_data(), limits={"max_epochs": 1, "precision": "bf16-true"})
    metrics = trainer.callback_metrics
    assert next(trainer.lightning_module.model.parameters()).dtype is torch.bfloat16
    assert {metrics[name].dtype for name in ("val_loss", "val_top1")} == {torch.float32}
    assert metrics["val_loss"] != metrics["val_loss"].bfloat16(), "a sum in half precision would have few digits"
    assert (metrics["val_top1"] * 6 / 100).item() == pytest.approx(
        round(metrics["val_top1"].item() * 6 / 100), abs=1e-6
    )


def test_the_rates_are_those_of_the_schedule(make_data, train):
    data, record, schedule = make_data(), Record(), ScheduleSettings(min_lr=1e-3, warmup=0.3, per="epoch")
    optimizer = OptimizerSettings(lr=0.02, lr_batch=20)  # batches have 10 images: half of that
    train(data, limits={"max_epochs": 2}, optimizer=optimizer, schedule=schedule, callbacks=[record])
    run = RunLength(steps=6, epochs=2)
    expected = [schedule.lr_at(step, epoch=step // 3, peak=0.02, run=run) / 2 for step in range(6)]
    assert record.rates == pytest.approx(expected, rel=1e-12)


def test_a_run_of_so_many_steps_goes_by_the_epochs_that_they_fill(make_data, train):
    data, record, schedule = make_data(), Record(), ScheduleSettings(warmup=1, warmup_unit="epochs", per="step")
    train(data, limits={"max_epochs": 100, "max_steps": 7}, schedule=schedule, callbacks=[record])
    run = RunLength(steps=7, epochs=7 / 3)  # three steps per epoch
    expected = [schedule.lr_at(step, epoch=step // 3, peak=0.03, run=run) for step in range(7)]
    assert expected[3] == 0.03  # warm after one epoch
    assert record.rates == pytest.approx(expected, rel=1e-12)


class Sizes(Callback):
    """Keep the heights of the images that training gets."""

    def __init__(self) -> None:
        self.heights: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        self.heights.append(batch.images.shape[2])


def test_images_grow_over_the_epochs_that_a_number_of_steps_fills(make_data, train):
    data, seen = make_data(sizes=Progressive(start=0.5, until=1.0)), Sizes()
    train(data, limits={"max_epochs": 100, "max_steps": 6}, callbacks=[seen])  # two epochs
    assert data.training_sizes == [(16, 16), (24, 24)]
    assert seen.heights == [16] * 3 + [24] * 3


def test_a_network_is_tried_on_all_sizes(make_data, make_module):
    data = make_data(sizes=Progressive(start=0.5, until=0.5))
    data.begin(RunPlan(batch_size=10, epochs=2))
    with pytest.raises(InputError, match=r"^test_vit3 with .* cannot take RGB images of size=\(16, 16\)"):
        make_module(data, name="test_vit3", kwargs={"img_size": 32})


def test_a_teacher_is_tried_on_all_sizes(make_data, make_module, tmp_path):
    data = make_data(sizes=Progressive(start=0.5, until=0.5))
    data.begin(RunPlan(batch_size=10, epochs=2))
    spec = NetworkSpec(backbone="test_convnext", labels=data.labels, preprocessing=data.settings.preprocessing)
    save_weights(create_model("test_convnext", num_classes=3), spec, tmp_path / "teacher.safetensors")
    task = Classify(distillation=DistillationSettings(teacher=str(tmp_path / "teacher.safetensors")))
    with pytest.raises(InputError, match=r"cannot take RGB images of size=\(16, 16\)"):
        make_module(data, task=task)


@pytest.mark.parametrize(
    ("precision", "clip", "fused", "spared"),
    [("bf16-mixed", 1.0, False, True), ("bf16-mixed", None, True, True), ("32-true", 1.0, True, False)],
)
def test_mixed_precision_clips_without_the_fused_kernel_and_spares_convolutions(
    precision, clip, fused, spared, make_data, make_module, train
):
    data = make_data()
    plain = plain_convolutions(make_module(data))
    limits = {"max_steps": 1, "precision": precision, "gradient_clip_val": clip}
    trainer = train(data, limits=limits)
    assert trainer.global_step == 1
    assert trainer.optimizers[0].param_groups[0]["fused"] is fused
    assert (plain_convolutions(trainer.lightning_module) < plain) is spared


def plain_convolutions(module: nn.Module) -> int:
    return sum(type(part) is nn.Conv2d for part in module.modules())


def test_a_fused_kernel_is_refused_where_it_cannot_clip(make_data, train):
    limits = {"precision": "bf16-mixed", "gradient_clip_val": 1.0, "max_epochs": 1}
    with pytest.raises(InputError, match="fused=true"):
        train(make_data(), limits=limits, optimizer=OptimizerSettings(options={"fused": True}))


def test_checkpoints_hold_the_averaged_weights_that_were_validated(tmp_path, make_data, train):
    data, record = make_data(), Record()
    trainer = train(data, limits={"max_epochs": 2}, callbacks=[WeightEMA(EMA), record, every_epoch(tmp_path)])
    for epoch, logged in enumerate(record.validations):
        path = tmp_path / f"epoch={epoch}.ckpt"
        model, spec = open_checkpoint(path)
        assert spec == trainer.lightning_module.spec
        # The task takes the mean over batches, and its maps have another memory layout: other orders of summation.
        assert validate(model, [*data.val_dataloader()]) == pytest.approx(logged, rel=1e-5)
        current = torch.load(path, weights_only=True)["current_model_state"]
        assert not torch.equal(model.state_dict()["head.fc.weight"], current["model.head.fc.weight"])


def test_checkpoints_without_averaging_hold_the_weights_that_were_validated(tmp_path, make_data, train):
    data, record = make_data(), Record()
    train(data, limits={"max_epochs": 1}, callbacks=[record, every_epoch(tmp_path)])
    model, _ = open_checkpoint(tmp_path / "epoch=0.ckpt")
    # As above.
    assert validate(model, [*data.val_dataloader()]) == pytest.approx(record.validations[0], rel=1e-5)


def test_the_spec_says_all_that_the_model_needs(make_data, make_module):
    data = make_data()
    checkpoint = {}
    make_module(data, kwargs={"img_size": 48}).on_save_checkpoint(checkpoint)
    spec = NetworkSpec.from_dict(checkpoint[SPEC_KEY])
    assert spec == NetworkSpec(
        backbone="test_parcnet",
        backbone_kwargs={"img_size": 48},
        labels=("blue", "green", "red"),
        preprocessing=data.settings.preprocessing,
    )


class Start(Callback):
    """Keep the weights and moments that training starts with."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.weights = deepcopy(pl_module.state_dict())
        self.optimizer = deepcopy(trainer.optimizers[0].state_dict())


def test_a_resumed_run_goes_on_where_the_other_stopped(tmp_path, make_data, train):
    data, whole, rest, start = make_data(), Record(), Record(), Start()
    limits = {"max_epochs": 2}
    train(data, limits=limits, callbacks=[WeightEMA(EMA), whole, every_epoch(tmp_path / "whole")])
    resume = tmp_path / "whole" / "epoch=0.ckpt"
    callbacks = [WeightEMA(EMA), rest, every_epoch(tmp_path / "rest"), start]
    trainer = train(make_data(), limits=limits, callbacks=callbacks, resume=resume)
    saved = torch.load(resume, weights_only=True)
    assert_same(start.weights, saved["current_model_state"])
    assert_same(start.optimizer["state"], saved["optimizer_states"][0]["state"])
    assert (trainer.current_epoch, trainer.global_step) == (2, 6)
    assert rest.rates == whole.rates[3:]
    assert [path.name for path in (tmp_path / "rest").iterdir()] == ["epoch=1.ckpt"]
    states = [torch.load(tmp_path / run / "epoch=1.ckpt", weights_only=True) for run in ("whole", "rest")]
    for state in states:
        assert {int(moments["step"]) for moments in state["optimizer_states"][0]["state"].values()} == {6}
        assert state["averaging_state"]["n_averaged"] == 7  # the initial weights count too
        assert state["global_step"] == 6
        assert state["epoch"] == 1


def what_is_left(images: int) -> Batch:
    """Make the batch that `collate` makes of 8 images that were broken but for some."""
    size = 32 if images else 0
    targets = torch.zeros(images, dtype=torch.int64)
    return Batch(images=torch.zeros(images, 3, size, size), targets=targets, skipped=8 - images)


@pytest.mark.parametrize("images", [0, 1])
def test_a_batch_of_too_few_images_gives_no_loss(images, make_data, make_module):
    assert make_module(make_data()).train().training_step(what_is_left(images), 0) is None


def test_validation_passes_over_a_batch_without_images(make_data, make_module):
    assert make_module(make_data()).validation_step(what_is_left(0), 0) is None


def test_the_memory_layout_does_not_change_the_logits(make_data, make_module):
    modules = []
    for channels_last in (True, False):
        torch.manual_seed(0)
        modules.append(make_module(make_data(), channels_last=channels_last).eval())
    layouts = [torch.channels_last, torch.contiguous_format]
    for module, layout in zip(modules, layouts, strict=True):
        assert all(p.is_contiguous(memory_format=layout) for p in module.parameters() if p.ndim == 4)
    images = torch.randn(2, 3, 32, 32)
    (first,), (second,) = (module(images) for module in modules)
    # Other orders of summation, in float32.
    torch.testing.assert_close(first, second, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"name": "no_such_model"}, "no_such_model"),
        ({"kwargs": {"depth": 3}}, "depth"),
        ({"name": "vit_tiny_patch16_224", "kwargs": {}}, r"vit_tiny_patch16_224.* size=\(32, 32\)"),
        ({"schedule": ScheduleSettings(min_lr=0.1)}, r"optimizer.lr=0.03: is below schedule.min_lr=0.1"),
    ],
)
def test_mistakes_are_named(options, named, make_data, make_module):
    with pytest.raises(InputError, match=named):
        make_module(make_data(), **options)


class Trial(Callback):
    """Keep what the trial batches before the first epoch leave behind."""

    def __init__(self) -> None:
        self.left: list[object] = []

    def on_sanity_check_end(self, trainer, pl_module) -> None:
        self.left = [*trainer.callback_metrics, pl_module._val_loss.update_called, pl_module._metric.update_called]


def test_trial_batches_are_not_measured(make_data, train):
    """Of several processes one may have no intact trial batch; it would miss the exchange that a metric begins."""
    trial = Trial()
    train(make_data(), limits={"max_epochs": 1}, callbacks=[trial])
    assert trial.left == [False, False]
