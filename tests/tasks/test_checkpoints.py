"""Checkpoints are written completely or not at all."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from checkpoint_files import content, save, steps_in
from parckit.contract import InputError
from parckit.tasks import AtomicCheckpointIO, SaveBest


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
    told = "cannot be written (No space left on device); the earlier checkpoints are intact"
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


@pytest.mark.parametrize("kept", [1, 2])
def test_a_smaller_number_of_best_checkpoints_keeps_the_best_of_them(kept, tmp_path):
    paths = [str(tmp_path / f"best-{number}-{number}.ckpt") for number in range(3)]
    for path in paths:
        Path(path).touch()
    best = SaveBest(tmp_path, monitor="val_loss", save_top_k=kept)
    scores = {path: torch.tensor(value) for path, value in zip(paths, (2.0, 1.0, 3.0), strict=True)}
    state = best.state_dict() | {"best_k_models": scores, "kth_best_model_path": paths[2]}
    strategy = SimpleNamespace(reduce_boolean_decision=bool)
    run = SimpleNamespace(ckpt_path=str(tmp_path / "last.ckpt"), is_global_zero=True, global_step=3, strategy=strategy)
    best.on_load_checkpoint(run, None, {"callbacks": {best.state_key: state}})
    best.load_state_dict(state)
    best.on_train_start(run, None)
    assert {str(path) for path in tmp_path.iterdir()} == {paths[1], paths[0]} - {*paths[: 2 - kept]}
    worst = (1.0, 2.0)[kept - 1]
    assert best.check_monitor_top_k(run, torch.tensor(worst - 0.5))
    assert not best.check_monitor_top_k(run, torch.tensor(worst + 0.5))
