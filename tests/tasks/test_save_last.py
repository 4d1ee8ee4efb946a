"""When `last.ckpt` is written."""

import signal
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from checkpoint_files import SPEC, steps_in
from parckit.contract import SPEC_KEY, InputError
from parckit.tasks import AtomicCheckpointIO, SaveLast, quiet_lightning
from training_state import assert_same, state_of


class Line(LightningModule):
    """One weight, six batches per epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(1, 1, bias=False)

    def training_step(self, batch: Tensor, batch_idx: int) -> Tensor:
        return self.layer(batch).sum()

    def validation_step(self, batch: Tensor, batch_idx: int) -> None:
        self.log("value", self.layer(batch).sum())

    def configure_optimizers(self) -> torch.optim.SGD:
        return torch.optim.SGD(self.parameters(), lr=0.1, momentum=0.9)

    def on_save_checkpoint(self, checkpoint: dict[str, object]) -> None:
        checkpoint[SPEC_KEY] = SPEC.to_dict()


class Ones(LightningDataModule):
    def train_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(torch.ones(6, 1))

    def val_dataloader(self) -> DataLoader[Tensor]:
        return DataLoader(torch.ones(1, 1))


class After(Callback):
    """Do something behind a batch of the run."""

    def __init__(self, batch: int, action: Callable[[], None]) -> None:
        self._batch = batch
        self._action = action

    def on_train_batch_end(self, trainer: Trainer, *_: object) -> None:
        if trainer.fit_loop.total_batch_idx == self._batch:
            self._action()


@pytest.fixture
def fit(tmp_path: Path) -> Callable[..., list[int]]:
    def run(
        *callbacks: Callback,
        clock: Callable[[], float],
        epochs: int = 1,
        minutes: float = 1,
        resume: Path | None = None,
        plugins: Sequence[object] = (),
        **options: object,
    ) -> list[int]:
        """Train and return at which steps `last.ckpt` was written."""
        written = []

        class Watched(Trainer):
            def save_checkpoint(self, filepath, *args: object, **options: object) -> None:
                super().save_checkpoint(filepath, *args, **options)
                written.append(AtomicCheckpointIO().load_checkpoint(filepath)["global_step"])

        with quiet_lightning():
            trainer = Watched(
                accelerator="cpu",
                max_epochs=epochs,
                callbacks=[*callbacks, SaveLast(tmp_path, minutes=minutes, clock=clock)],
                plugins=[AtomicCheckpointIO(), *plugins],
                logger=False,
                enable_progress_bar=False,
                enable_model_summary=False,
                **options,
            )
            try:
                trainer.fit(Line(), datamodule=Ones(), ckpt_path=resume)
            except SystemExit:  # Lightning's answer to SIGTERM
                written.append("ended")
        return written

    return run


def still() -> float:
    return 0.0


def hurried() -> Callable[[], float]:
    """Return a clock that has gone on a minute whenever it is read."""
    return map(float, count(step=60)).__next__


def test_every_epoch_is_saved(fit, tmp_path):
    assert fit(clock=still, epochs=3) == [6, 12, 18]
    assert steps_in(tmp_path) == {"last.ckpt": 18, "previous.ckpt": 12}


def test_minutes_count_from_the_last_save(fit):
    now = iter(20 * position for position in range(100))  # seconds; a batch takes 20, a save too
    assert fit(clock=lambda: float(next(now))) == [3, 6]


def test_it_waits_for_the_end_of_a_step(fit):
    # Three batches in flight a step; after the sixth batch the epoch's end is saved, and that once.
    assert fit(clock=hurried(), accumulate_grad_batches=3) == [1, 2]


@pytest.mark.parametrize("every", [1, 2])
def test_it_waits_for_a_validation_that_is_due(every, fit):
    told = []

    class Validated(Callback):
        def on_validation_end(self, trainer: Trainer, *_: object) -> None:
            told.append(trainer.global_step)

    assert fit(Validated(), clock=hurried(), val_check_interval=every, num_sanity_val_steps=0) == [1, 2, 3, 4, 5, 6]
    assert told == [*range(every, 7, every)]


def test_an_epoch_without_validation_is_saved_too(fit):
    assert fit(clock=still, epochs=2, limit_val_batches=0) == [6, 12]


def test_validation_by_batches_of_all_epochs_is_waited_for_too(fit):
    # Batches 4, 8 and 12 of all are validated after, batches 6 and 12 end an epoch.
    saved = fit(clock=hurried(), epochs=2, check_val_every_n_epoch=None, val_check_interval=4)
    assert saved == [*range(1, 13)]


@pytest.fixture
def of_a_terminal():
    """Give the signals their usual effects, which they may not have where the tests run in the background."""
    usual = {signal.SIGINT: signal.default_int_handler, signal.SIGHUP: signal.SIG_DFL}
    before = {signum: signal.signal(signum, handler) for signum, handler in usual.items()}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.usefixtures("of_a_terminal")
@pytest.mark.parametrize("signum", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("every", [None, 1])
def test_a_process_asked_to_end_saves_first(every, signum, fit):
    asked = After(3, lambda: signal.raise_signal(signum))
    assert fit(asked, clock=still, val_check_interval=every) == [4, "ended"]


def test_a_run_goes_on_after_the_validation_that_it_was_saved_behind(fit, tmp_path):
    whole, rest = tmp_path / "whole.ckpt", tmp_path / "rest.ckpt"
    torch.manual_seed(0)
    fit(clock=still, val_check_interval=1)
    (tmp_path / "last.ckpt").rename(whole)
    torch.manual_seed(0)
    fit(After(3, lambda: signal.raise_signal(signal.SIGTERM)), clock=still, val_check_interval=1)
    (tmp_path / "last.ckpt").rename(rest)
    fit(clock=still, val_check_interval=1, resume=rest)
    assert_same(state_of(tmp_path / "last.ckpt"), state_of(whole))


def test_a_run_that_outlives_its_terminal_is_left_alone(fit):
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        assert fit(After(3, lambda: signal.raise_signal(signal.SIGHUP)), clock=still) == [6]
    finally:
        signal.signal(signal.SIGHUP, before)


@pytest.mark.usefixtures("of_a_terminal")
def test_a_second_interrupt_does_not_wait(fit):
    def insist() -> None:
        signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)

    assert fit(After(3, insist), clock=still) == ["ended"]


def test_what_a_killed_run_was_writing_is_removed(fit, tmp_path):
    half = tmp_path / ".last.ckpt~123-0a1b2c3d.tmp"
    half.write_bytes(b"half")
    (tmp_path / "notes.tmp").touch()
    fit(clock=still)
    assert {path.name for path in tmp_path.iterdir()} == {"last.ckpt", "notes.tmp"}


@pytest.mark.parametrize("batch", [2, 4, 5, 8])
def test_half_precision_goes_on_to_the_same_bits(batch, fit, tmp_path):
    def states_after(*callbacks: Callback, resume: Path | None = None) -> dict[str, object]:
        torch.manual_seed(0)  # of the first weights
        scaler = torch.amp.GradScaler("cpu", init_scale=2.0**14, growth_interval=2)
        half = MixedPrecision("16-mixed", "cpu", scaler)
        fit(*callbacks, clock=still, epochs=2, resume=resume, plugins=[half])
        return state_of(tmp_path / "last.ckpt")

    whole = states_after()
    # Doubled after two steps; halved after one that it drives out of half precision's range and that is left out.
    assert (whole["MixedPrecision"]["scale"], whole["MixedPrecision"]["_growth_tracker"]) == (2.0**15, 1)
    interrupted = states_after(After(batch, lambda: signal.raise_signal(signal.SIGTERM)))
    assert interrupted["global_step"] == batch + 1
    assert_same(states_after(resume=tmp_path / "last.ckpt"), whole)


@pytest.mark.parametrize("minutes", [0, -1, float("nan")])
def test_minutes_must_be_positive(minutes, tmp_path):
    with pytest.raises(InputError, match=f"save_minutes={minutes}"):
        SaveLast(tmp_path, minutes=minutes)
