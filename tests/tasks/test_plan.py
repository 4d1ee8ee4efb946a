"""The size of a run: what Lightning comes to when it has begun, computed before."""

import pytest
import torch
from lightning.pytorch import Callback
from lightning.pytorch.callbacks import ModelCheckpoint

from parckit.contract import InputError
from parckit.tasks import Position, RunPlan, open_resumable, plan_run
from parckit.tasks.plan import position_of

# The folder's 30 images are 7 batches of 4.
SIZES = {"batch_size": 4, "batches": 7, "start": Position()}


class Estimate(Callback):
    """Keep what Lightning estimates, and end the run."""

    def on_train_start(self, trainer, pl_module) -> None:
        self.steps = trainer.estimated_stepping_batches
        trainer.should_stop = True


@pytest.mark.parametrize(
    ("limits", "steps_per_epoch", "epochs"),
    [
        ({"max_epochs": 3, "accumulate_grad_batches": 2}, 4, 3),
        ({"max_epochs": 3, "accumulate_grad_batches": 9}, 1, 3),
        ({"max_steps": 10}, 7, 2),
        ({"max_steps": 10, "max_epochs": 1}, 7, 1),
        ({"max_steps": 10, "max_epochs": 9, "accumulate_grad_batches": 3}, 3, 4),
        ({"max_epochs": 2, "limit_train_batches": 5}, 5, 2),
        ({"max_epochs": 2, "limit_train_batches": 0.5}, 3, 2),
        ({"max_epochs": 2, "limit_train_batches": 1.0}, 7, 2),
        ({"max_epochs": 2, "limit_train_batches": 5, "accumulate_grad_batches": 2}, 3, 2),
        ({"max_steps": 4, "limit_train_batches": 0.5, "accumulate_grad_batches": 2}, 2, 2),
        ({"max_epochs": 2, "overfit_batches": 2}, 2, 2),
    ],
    ids=str,
)
def test_a_plan_has_the_steps_that_lightning_estimates(limits, steps_per_epoch, epochs, make_data, make_trainer, train):
    data, estimate = make_data(batch_size=4), Estimate()
    trainer = train(data, limits=limits | {"limit_val_batches": 0}, callbacks=[estimate])
    plan = trainer.lightning_module.plan
    assert data.batches_per_epoch(processes=1) == SIZES["batches"]
    assert plan.steps == estimate.steps
    assert (plan.steps_per_epoch, plan.epochs) == (steps_per_epoch, epochs)
    assert plan.effective_batch == 4 * min(plan.batches, limits.get("accumulate_grad_batches", 1))


@pytest.mark.parametrize("limits", [{"max_epochs": -1}, {"max_epochs": 0}, {"max_epochs": 3, "max_steps": 0}], ids=str)
def test_a_run_without_steps_or_without_an_end_is_refused(limits, make_trainer):
    with pytest.raises(InputError, match=r"--trainer\.max_steps, --trainer\.max_epochs: "):
        plan_run(make_trainer(**limits), **SIZES)


def test_a_plan_counts_all_processes_and_their_batches():
    plan = RunPlan(batch_size=4, batches=10, accumulated=3, processes=2, steps=10, steps_per_epoch=4, epochs=3)
    assert (plan.effective_batch, plan.last_batch, plan.length_in_epochs) == (24, 8, 2.5)


def test_a_checkpoint_says_how_far_its_training_has_come(tmp_path, make_data, train):
    data = make_data(batch_size=4)
    within = ModelCheckpoint(tmp_path, filename="{step}", every_n_train_steps=1, save_top_k=-1)
    after = ModelCheckpoint(tmp_path, filename="after-{epoch}", save_on_train_epoch_end=True, save_top_k=-1)
    limits = {"max_epochs": 2, "limit_train_batches": 6, "accumulate_grad_batches": 2, "limit_val_batches": 0}
    train(data, limits=limits, callbacks=[within, after])
    loops = {path.stem: torch.load(path, weights_only=True)["loops"] for path in tmp_path.glob("*.ckpt")}
    assert {name: position_of(state) for name, state in loops.items()} == {
        "step=1": Position(epochs=0, batches=2),
        "step=2": Position(epochs=0, batches=4),
        "step=3": Position(epochs=0, batches=6),
        "after-epoch=0": Position(epochs=1),
        "step=4": Position(epochs=1, batches=2),
        "step=5": Position(epochs=1, batches=4),
        "step=6": Position(epochs=1, batches=6),
        "after-epoch=1": Position(epochs=2),
    }
    assert open_resumable(tmp_path / "step=4.ckpt").position == Position(epochs=1, batches=2)
