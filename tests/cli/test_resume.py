"""Trainings that are killed, run out of disk or come to nothing: what is left, and that they go on from it."""

import multiprocessing
import os
import random
import resource
import shutil
import signal
import time
from collections.abc import Callable
from ctypes import c_int
from functools import partial
from multiprocessing.context import ForkServerProcess
from pathlib import Path

import pytest
import torch
import yaml

from parckit.cli.main import main
from parckit.runtimes.torch import open_checkpoint
from parckit.tasks import LAST, PREVIOUS
from processes import inode, train, train_apart, train_until, train_until_dead
from training_state import assert_same, state_of

EPOCHS, STEPS, ACCUMULATED = 12, 5, 2  # five steps an epoch
EARLY_KILLS, KILLS = 2, 10
OPTIONS = (
    f"--trainer.max_epochs={EPOCHS}",
    f"--trainer.limit_train_batches={STEPS * ACCUMULATED}",
    "--trainer.limit_val_batches=1",
    f"--trainer.accumulate_grad_batches={ACCUMULATED}",
    "--trainer.enable_progress_bar=false",
    '--model.kwargs={"img_size": 32, "drop_rate": 0.2, "block_drop_rate": 0.1}',
    "--model.mixing={}",
    "--data.batch_size=8",
    "--data.sizes={sides: [24, 32, 40], base: 32}",
    "--ema={decay: 0.9}",
    "--keep_best=2",
    "--save_minutes=1e-6",  # after every step
    "--resume=auto",
)
Start = Callable[..., ForkServerProcess]


@pytest.fixture
def start(start_training: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> Start:
    """Return a function that trains in a process of its own, forked from one that has all imported already."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # so small a model is faster so
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["parckit.cli.train"])

    def run(out: Path, *options: object, target: Callable[[list[str]], None] = train) -> ForkServerProcess:
        argv = [*start_training[1:], *OPTIONS, "--out", out, *options]
        process = context.Process(target=target, args=([str(arg) for arg in argv],))
        process.start()
        return process

    return run


def is_replaced(path: Path, *, by: ForkServerProcess, within: float = 60) -> bool:
    """Wait until a process has written a file anew, for so many seconds; return whether it has."""
    before, end = inode(path), time.monotonic() + within
    while inode(path) in {before, None} and time.monotonic() < end and by.is_alive():
        time.sleep(0.001)
    return inode(path) not in {before, None}


def kill(process: ForkServerProcess, *, delay: float = 0) -> None:
    time.sleep(delay)
    process.kill()
    process.join()
    assert process.exitcode == -signal.SIGKILL


def finish(process: ForkServerProcess) -> None:
    process.join()
    assert process.exitcode == 0


def steps_in(path: Path) -> int:
    return torch.load(path, weights_only=True)["global_step"]


def steps_saved(folder: Path) -> int:
    """Return with how many steps behind it a training goes on."""
    return next((steps_in(folder / name) for name in (LAST, PREVIOUS) if (folder / name).exists()), 0)


def batches_of_epoch(path: Path) -> int:
    """Return how many batches of its epoch a checkpoint has behind it."""
    loops = torch.load(path, weights_only=True)["loops"]["fit_loop"]
    return loops["epoch_loop.batch_progress"]["current"]["ready"]


def assert_same_training(one: Path, other: Path) -> None:
    """Compare all checkpoints of two folders, and which of them were best."""
    names = [path.name for path in sorted(one.glob("*.ckpt"))]
    assert names == [path.name for path in sorted(other.glob("*.ckpt"))]
    assert len(names) == 4, "last, previous and the best two"
    for name in names:
        ours, theirs = (torch.load(folder / name, weights_only=True) for folder in (one, other))
        assert_same(state_of(one / name), state_of(other / name))
        scores = [
            {Path(path).name: score for path, score in state["best_k_models"].items()}
            for checkpoint in (ours, theirs)
            for state in checkpoint["callbacks"].values()
            if "best_k_models" in state
        ]
        assert_same(*scores)
    assert (one / "average.safetensors").read_bytes() == (other / "average.safetensors").read_bytes()


def seconds_per_step(process: ForkServerProcess, folder: Path) -> float:
    """Let a training of the usual length end, and measure it from the end of its first epoch."""
    assert is_replaced(folder / LAST, by=process)
    begun = time.monotonic()
    finish(process)
    return (time.monotonic() - begun) / ((EPOCHS - 1) * STEPS)


def test_killed_runs_end_with_the_weights_of_an_undisturbed_one(start, tmp_path):
    at_epochs_ends = "--save_minutes=15"
    step = seconds_per_step(start(tmp_path / "whole", at_epochs_ends), tmp_path / "whole")
    out, dice = tmp_path / "killed", random.Random(0)  # noqa: S311 - no secret
    for _ in range(EARLY_KILLS):  # while the process starts, or before there is anything to go on from
        process = start(out)
        is_replaced(out / LAST, by=process, within=dice.uniform(0, 1))
        kill(process)
    # Saved after every step, after about three, at the epoch's end alone. Every run gets as far as its first save.
    kinds = dice.sample([(1e-4, 1, 3)] * 4 + [(2.5 * step, 1, 4)] * 3 + [(900.0, 2, 3)] * 3, KILLS)
    resumed, lost = [steps_saved(out)], []
    for number, (seconds, least, most) in enumerate(kinds):
        steps = multiprocessing.RawValue(c_int)
        options = (f"--data.workers={number % 2}", f"--save_minutes={seconds / 60}")
        end = {"saved": out / LAST, "steps": dice.randint(least, most), "delay": dice.uniform(0, step)}
        process = start(out, *options, target=partial(train_until_dead, **end, counter=steps))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        done = resumed[-1] + steps.value
        resumed.append(steps_saved(out))
        lost.append(done - resumed[-1])
    told = f"went on from {resumed}, lost {lost}"
    assert resumed == sorted({*resumed}), told  # each run came further than the one before
    assert sum(point % STEPS > 0 for point in resumed[1:]) >= KILLS // 3, told  # in the middle of an epoch
    assert sum(lost) >= KILLS // 2, told
    finish(start(out, at_epochs_ends))
    assert not list(out.glob(".*"))
    assert_same_training(tmp_path / "whole", out)


def test_a_run_killed_while_it_saves_goes_on(start, tmp_path):
    options = ("--trainer.max_epochs=2", "--trainer.limit_train_batches=12")  # six steps
    whole, out = start(tmp_path / "whole", *options), tmp_path / "killed"
    finish(whole)
    # All in the first epoch. A run saves once before it dies, and begins at the newest step that its folder holds.
    for *moment, left in (
        ("fsync", "last.ckpt", {"last.ckpt": 1}),
        ("replace", "previous.ckpt", {"last.ckpt": 2, "previous.ckpt": 1}),
        ("replace", "last.ckpt", {"previous.ckpt": 3}),
        ("fsync", "killed", {"last.ckpt": 5, "previous.ckpt": 4}),  # the folder, last of all
    ):
        process = start(out, *options, target=partial(train_until, moment=tuple(moment)))
        process.join()
        assert process.exitcode == -signal.SIGKILL
        assert {path.name: steps_in(path) for path in out.glob("*.ckpt")} == left
        assert len(list(out.glob(".last.ckpt~*.tmp"))) == (moment != ["fsync", "killed"])
    finish(start(out, *options))
    assert not list(out.glob(".*"))
    assert_same_training(tmp_path / "whole", out)


def test_a_run_limited_in_steps_goes_on_from_an_epochs_end(start, tmp_path):
    # Nine batches make five steps, the last of one batch; the fourth epoch is cut short.
    limits = ("--trainer.limit_train_batches=9", "--trainer.max_steps=17", "--save_minutes=15")
    finish(start(tmp_path / "whole", *limits))
    out = tmp_path / "killed"
    for _ in range(2):
        process = start(out, *limits)
        assert is_replaced(out / "last.ckpt", by=process)
        kill(process)
    finish(start(out, *limits))
    assert_same_training(tmp_path / "whole", out)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGHUP, 129), (signal.SIGTERM, 143)])
def test_what_a_terminal_sends_to_a_training_and_its_workers_is_no_accident(signum, code, start, tmp_path, capfd):
    long_epoch = ("--trainer.limit_train_batches=1.0", "--data.batch_size=4", "--trainer.val_check_interval=4")
    options = ("--save_minutes=15", "--keep_best=1", "--data.workers=2", *long_epoch)
    process = start(tmp_path, *options, target=train_apart)
    while inode(tmp_path / "best.ckpt") is None and process.is_alive():
        time.sleep(0.001)
    assert not (tmp_path / "last.ckpt").exists()
    os.killpg(process.pid, signum)
    process.join()
    assert process.exitcode == code
    assert 0 < steps_in(tmp_path / "last.ckpt") == batches_of_epoch(tmp_path / "last.ckpt") // ACCUMULATED
    assert "Traceback" not in capfd.readouterr().err


@pytest.fixture
def interrupted(trained: Path, tmp_path: Path) -> Path:
    """Return the folder of a training that has the second of its two epochs before it."""
    return shutil.copytree(trained, tmp_path / "run")


@pytest.fixture
def go_on(start_training: tuple[str, ...], interrupted: Path) -> tuple[object, ...]:
    """Return the command that goes on with it, briefly."""
    brief = ("--trainer.limit_train_batches=2", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false")
    return (*start_training, *brief, "--trainer.max_epochs=2", "--resume=auto", "--out", interrupted)


def test_auto_begins_goes_on_and_is_content_with_what_is_finished(go_on, interrupted, parckit, tmp_path):
    parckit(*go_on, "--out", tmp_path / "new")
    assert steps_in(tmp_path / "new" / "last.ckpt") == 4
    before = steps_in(interrupted / "last.ckpt")
    for number in range(2):
        printed = parckit(*go_on)
        told = f"resumed from {interrupted}/last.ckpt: {before} of 4 steps are done"  # with two of an epoch
        assert (told in printed) is (number == 0), "a finished run is not resumed"
        assert f"last checkpoint: {interrupted}/last.ckpt" in printed
        assert steps_in(interrupted / "last.ckpt") == before + 2
        assert steps_in(interrupted / "previous.ckpt") == before


def test_a_run_can_go_on_from_its_best_checkpoint(start_training, tmp_path, parckit):
    limits = ("--trainer.limit_train_batches=3", "--trainer.limit_val_batches=1", "--trainer.max_epochs=3")
    argv = (*start_training, *limits, "--monitor=val_loss", "--model.optimizer.lr=1e-4", "--model.schedule.min_lr=0")
    parckit(*argv, "--out", tmp_path / "whole")
    parckit(*argv, "--out", tmp_path / "rest", "--resume", tmp_path / "whole" / "best.ckpt")
    assert_same(state_of(tmp_path / "whole" / "last.ckpt"), state_of(tmp_path / "rest" / "last.ckpt"))


@pytest.mark.parametrize(
    ("option", "before", "now"),
    [
        ("--seed", "0", "1"),
        ("--data.batch_size", "32", "16"),
        ("--data.repeats", "1", "2"),
        ("--data.sizes", "null", "{sides: [24, 32], base: 32}"),
        ("--trainer.accumulate_grad_batches", "1", "2"),
    ],
)
def test_within_an_epoch_what_decides_its_images_may_not_change(option, before, now, go_on, interrupted, mistake):
    message = mistake(*go_on, "--resume", interrupted / "best.ckpt", f"{option}={now}")
    assert f"was written before its epoch's end and goes on only with {option} {before}, not " in message


def test_the_best_checkpoint_of_a_copied_training_is_not_replaced_by_a_worse_one(go_on, interrupted, parckit):
    before = (interrupted / "best.ckpt").read_bytes()
    parckit(*go_on, "--model.optimizer.lr=10", "--model.schedule.min_lr=10")
    assert torch.load(interrupted / "last.ckpt", weights_only=True)["epoch"] == 1
    assert (interrupted / "best.ckpt").read_bytes() == before


def test_a_full_disk_ends_in_one_line_and_the_last_checkpoint_is_intact(go_on, interrupted, mistake, parckit):
    last, before = interrupted / "last.ckpt", (interrupted / "last.ckpt").read_bytes()
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, unlimited[1]))
    try:
        message = mistake(*go_on)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert message.endswith(".ckpt: cannot be written (File too large); the checkpoints written before are intact")
    assert last.read_bytes() == before
    assert not list(interrupted.glob(".*"))
    parckit(*go_on)
    assert torch.load(last, weights_only=True)["epoch"] == 1


def test_a_folder_that_cannot_be_made_is_named_before_training(go_on, picture, mistake):
    message = mistake(*go_on, "--out", picture / "run")
    assert message == f"{picture / 'run'}: Not a directory"


def test_a_truncated_checkpoint_is_refused_and_the_one_before_it_offered(go_on, interrupted, mistake, parckit, caplog):
    last, previous = interrupted / "last.ckpt", interrupted / "previous.ckpt"
    shutil.copy(last, previous)
    last.write_bytes(last.read_bytes()[:-1000])
    message = mistake(*go_on, "--resume", last)
    assert message.startswith(f"--resume {last}: damaged")
    assert message.endswith(f"the one before it is whole: {previous}")
    assert mistake(*go_on, "--resume", last, "--match_weights=true") == message
    parckit(*go_on)
    assert f"refused {last}: damaged" in caplog.text
    assert torch.load(last, weights_only=True)["epoch"] == 1


def test_a_loss_that_is_no_number_ends_the_run_in_one_line(go_on, interrupted, mistake, capsys):
    before = (interrupted / "last.ckpt").read_bytes()
    with pytest.raises(SystemExit) as ending:
        main([str(arg) for arg in (*go_on, "--model.optimizer.lr=1e38", "--model.schedule.min_lr=1e38")])
    assert ending.value.code == 1
    (line,) = capsys.readouterr().err.splitlines()
    (evidence,) = interrupted.glob("nan-step*.ckpt")
    assert line.startswith("parckit: error: the loss is nan at step ")
    assert str(evidence) in line
    assert (interrupted / "last.ckpt").read_bytes() == before
    open_checkpoint(evidence)
    assert "weights alone" in mistake(*go_on, "--resume", evidence)


def test_the_best_checkpoints_are_kept_and_averaged(start_training, tmp_path, parckit):
    options = ("--trainer.limit_train_batches=2", "--trainer.max_epochs=3", "--keep_best=2", "--monitor=val_loss")
    printed = parckit(*start_training, *options, "--out", tmp_path / "run").splitlines()
    kept = sorted((tmp_path / "run").glob("best-*.ckpt"))
    assert len(kept) == 2
    average = tmp_path / "run" / "average.safetensors"
    assert f"average of the best: {average}" in printed
    assert any(line == f"best checkpoint: {path}" for path in kept for line in printed)
    (mean, _), *both = (open_checkpoint(path) for path in (average, *kept))
    weights = torch.stack([model.state_dict()["head.fc.weight"] for model, _ in both])
    # One rounding of float32.
    torch.testing.assert_close(mean.state_dict()["head.fc.weight"], weights.mean(0), atol=0, rtol=2e-7)


def test_it_says_how_much_a_step_takes(start_training, tmp_path, parckit):
    options = (
        "--trainer.limit_train_batches=5",
        "--trainer.accumulate_grad_batches=2",
        "--model.optimizer.lr_batch=32",
    )
    printed = parckit(*start_training, *options, "--out", tmp_path / "run", "--trainer.enable_progress_bar=false")
    told = "64 images per step (32 x 2 accumulated x 1 processes), 3 steps per epoch"
    assert printed.splitlines()[0] == f"{told}, highest learning rate 0.06 (0.03 x 64/32)"


def test_it_says_of_what_size_the_images_of_a_step_are(start_training, tmp_path, parckit):
    options = ("--trainer.limit_train_batches=2", "--data.sizes={sides: [24, 32], base: 32}")
    printed = parckit(*start_training, *options, "--out", tmp_path / "run")
    assert printed.startswith("32 images of 32x32 pixels per step (")


def test_the_weights_that_it_began_with_may_be_gone(go_on, interrupted, checkpoint, tmp_path, parckit):
    weights = shutil.copy(checkpoint, tmp_path / "weights.ckpt")
    options = ("--out", tmp_path / "new", "--model.weights", weights)
    parckit(*go_on, *options, "--trainer.max_epochs=1")
    weights.unlink()
    parckit(*go_on, *options)
    assert torch.load(tmp_path / "new" / "last.ckpt", weights_only=True)["epoch"] == 1
    assert yaml.safe_load((tmp_path / "new" / "config.yaml").read_text())["model"]["weights"] == str(weights)
