import logging
import os
import resource
import signal
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import Callback, LightningDataModule, LightningModule, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch import Tensor, nn
from torch.utils.data import DataLoader

from parckit.contract import SPEC_KEY, InputError, NetworkSpec, Preprocessing
from parckit.tasks import AtomicCheckpointIO, SaveBest, SaveLast, find_resumable, open_resumable, quiet_lightning
from training_state import assert_same, loops_at, state_of

SPEC = NetworkSpec(backbone="test_parcnet", labels=("a", "b"), preprocessing=Preprocessing(size=(8, 8)))


def content(step: int = 0) -> dict[str, object]:
    """Return what `parckit train` could have saved, some 40 kB of it."""
    weights = {"model.weight": torch.full((100, 100), float(step))}
    return {
        SPEC_KEY: SPEC.to_dict(),
        "state_dict": weights,
        "optimizer_states": [{}],
        "loops": loops_at(epochs=0, batches=step),
        "global_step": step,
    }


def save(folder: Path, *, steps: int, name: str = "last.ckpt") -> Path:
    for step in range(1, steps + 1):
        AtomicCheckpointIO().save_checkpoint(content(step), folder / name)
    return folder / name


def steps_in(folder: Path) -> dict[str, int]:
    """Return every file's step; that they can be read says that they are whole."""
    found = {path.name: AtomicCheckpointIO().load_checkpoint(path) for path in folder.iterdir()}
    return {name: checkpoint["global_step"] for name, checkpoint in found.items()}


def cut(path: Path, *, share: float) -> Path:
    path.write_bytes(path.read_bytes()[: int(share * path.stat().st_size)])
    return path


def test_the_last_checkpoint_and_the_one_before_it_are_kept(tmp_path):
    save(tmp_path, steps=1)
    assert steps_in(tmp_path) == {"last.ckpt": 1}
    save(tmp_path, steps=3)
    assert steps_in(tmp_path) == {"last.ckpt": 3, "previous.ckpt": 2}


def test_other_checkpoints_are_replaced(tmp_path):
    save(tmp_path, steps=2, name="best.ckpt")
    assert steps_in(tmp_path) == {"best.ckpt": 2}
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "best.ckpt")
    AtomicCheckpointIO().remove_checkpoint(tmp_path / "best.ckpt")
    assert not list(tmp_path.iterdir())


def test_a_checkpoint_lies_on_the_disk_before_it_has_its_name(tmp_path, monkeypatch):
    save(tmp_path, steps=1)
    real, seen = os.fsync, []

    def fsync(descriptor: int) -> None:
        real(descriptor)
        synced = Path(f"/proc/self/fd/{descriptor}").readlink()
        seen.append((synced == tmp_path, steps_in(tmp_path)["last.ckpt"]))
        if not seen[-1][0]:
            assert torch.load(synced, weights_only=True)["global_step"] == 2

    monkeypatch.setattr(os, "fsync", fsync)
    AtomicCheckpointIO().save_checkpoint(content(2), tmp_path / "last.ckpt")
    # First the content, while the old file still has the name; then the folder, with the names exchanged.
    assert seen == [(False, 1), (True, 2)]


def run_out_of_space(descriptor: int) -> None:
    raise OSError(28, "No space left on device")


@contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def powerless(folder: Path) -> Iterator[None]:
    """Take away the right to write into a folder; root has to become somebody else for that."""
    user = os.geteuid()
    folder.chmod(0o500)
    if user == 0:
        os.seteuid(65534)  # "nobody"
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(0o700)


@pytest.mark.parametrize("name", ["last.ckpt", "best.ckpt"])
def test_a_full_disk_leaves_all_that_was_there(name, tmp_path, monkeypatch):
    path = save(tmp_path, steps=2, name=name)
    before = steps_in(tmp_path)
    monkeypatch.setattr(os, "fsync", run_out_of_space)
    with pytest.raises(InputError) as error:
        save(tmp_path, steps=1, name=name)
    told = "cannot be written (No space left on device); the checkpoints written before are intact"
    assert str(error.value) == f"{path}: {told}"
    assert steps_in(tmp_path) == before


def test_a_file_that_may_not_grow_leaves_all_that_was_there(tmp_path):
    path = save(tmp_path, steps=2)
    with file_size_limit(20_000), pytest.raises(InputError, match=rf"^{path}: cannot be written \(File too large\)"):
        save(tmp_path, steps=1)
    assert steps_in(tmp_path) == {"last.ckpt": 2, "previous.ckpt": 1}


def test_a_folder_without_permission_is_named(tmp_path):
    path = save(tmp_path / "run", steps=2)
    expected = rf"^{path}: cannot be written \(Permission denied\)"
    with powerless(tmp_path / "run"), pytest.raises(InputError, match=expected):
        save(tmp_path / "run", steps=1)
    assert steps_in(tmp_path / "run") == {"last.ckpt": 2, "previous.ckpt": 1}


def test_a_whole_checkpoint_is_resumable(tmp_path):
    last = save(tmp_path, steps=2)
    assert open_resumable(last).spec == SPEC
    assert find_resumable(tmp_path) == open_resumable(last)
    assert find_resumable(tmp_path / "nothing") is None


@pytest.mark.parametrize("share", [0, 0.01, 0.5, 0.999])
def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_offered(share, tmp_path, caplog):
    last = cut(save(tmp_path, steps=2), share=share)
    with pytest.raises(InputError, match=rf"^{last}: damaged.*; the one before it is whole: {tmp_path}/previous.ckpt$"):
        open_resumable(last)
    with caplog.at_level(logging.WARNING):
        assert find_resumable(tmp_path).path == tmp_path / "previous.ckpt"
    assert [message.split(" (")[0] for message in caplog.messages] == [
        f"refused {last}: damaged, or not a .ckpt file with only weights"
    ]


def test_what_is_lost_is_said(tmp_path):
    last = cut(save(tmp_path, steps=2), share=0.5)
    cut(tmp_path / "previous.ckpt", share=0.5)
    with pytest.raises(InputError, match=rf"^{last}: damaged[^;]*$"):
        open_resumable(last)
    with pytest.raises(InputError, match=rf"^{tmp_path}: .* damaged: last.ckpt, previous.ckpt$"):
        find_resumable(tmp_path)


def test_weights_alone_are_refused(tmp_path):
    path = save(tmp_path, steps=1)
    weights = content()
    del weights["optimizer_states"]
    AtomicCheckpointIO().save_checkpoint(weights, path)
    with pytest.raises(InputError, match="weights alone"):
        open_resumable(path)


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


def test_it_waits_for_a_validation_that_is_due(fit):
    assert fit(clock=hurried(), val_check_interval=2) == [1, 3, 5, 6]


def test_an_epoch_without_validation_is_saved_too(fit):
    assert fit(clock=still, epochs=2, limit_val_batches=0) == [6, 12]


def test_validation_by_batches_of_all_epochs_is_waited_for_too(fit):
    # Batches 4, 8 and 12 of all are validated after, batches 6 and 12 end an epoch.
    saved = fit(clock=hurried(), epochs=2, check_val_every_n_epoch=None, val_check_interval=4)
    assert saved == [1, 2, 3, 5, 6, 7, 9, 10, 11, 12]


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
def test_a_process_asked_to_end_saves_first(fit, signum):
    assert fit(After(3, lambda: signal.raise_signal(signum)), clock=still) == [4, "ended"]


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


def test_best_checkpoints_that_were_not_copied_along_are_forgotten(tmp_path):
    (tmp_path / "best-1.ckpt").touch()
    best = SaveBest(tmp_path, monitor="val_loss", save_top_k=2)
    state = best.state_dict() | {
        "dirpath": "/old",
        "best_k_models": {"/old/best-0.ckpt": torch.tensor(1.0), "/old/best-1.ckpt": torch.tensor(2.0)},
        "best_model_path": "/old/best-0.ckpt",
        "kth_best_model_path": "/old/best-1.ckpt",
        "kth_value": torch.tensor(2.0),
    }
    run = SimpleNamespace(ckpt_path=str(tmp_path / "last.ckpt"))
    best.on_load_checkpoint(run, None, {"callbacks": {best.state_key: state}})
    best.load_state_dict(state)
    assert best.best_k_models == {str(tmp_path / "best-1.ckpt"): torch.tensor(2.0)}
    assert best.best_model_path == str(tmp_path / "best-1.ckpt")
    assert best.best_model_score == 2
    assert best.check_monitor_top_k(run, torch.tensor(3.0))  # there is room for another


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
