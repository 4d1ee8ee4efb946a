from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.demos.boring_classes import BoringModel

from parckit.tasks import quiet_lightning
from parckit.tasks.threads import Threads


@pytest.fixture(autouse=True)
def two_threads():
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


class Seen(Callback):
    """Notes the number of threads of a step, and may fail then."""

    def __init__(self, *, fails: bool = False) -> None:
        self.fails = fails
        self.threads: list[int] = []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.threads.append(torch.get_num_threads())
        if self.fails:
            raise OSError("no space")


def train(*callbacks: Callback) -> None:
    options = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False}
    with quiet_lightning():
        trainer = Trainer(accelerator="cpu", max_steps=1, callbacks=[*callbacks], enable_model_summary=False, **options)
        trainer.fit(BoringModel())


def test_a_training_takes_the_number_and_gives_the_former_one_back():
    seen = Seen()
    train(Threads(3), seen)
    assert (seen.threads, torch.get_num_threads()) == ([3], 2)


def test_a_training_that_fails_gives_it_back_too():
    with pytest.raises(OSError, match="no space"):
        train(Threads(3), Seen(fails=True))
    assert torch.get_num_threads() == 2


def test_a_training_on_a_gpu_leaves_the_number():
    Threads(3).setup(SimpleNamespace(accelerator="any other"), BoringModel(), "fit")
    assert torch.get_num_threads() == 2
