"""Two processes that train together: what they print and write, and what happens when one of them ends."""

import csv
import os
import shutil
import signal
import time
from pathlib import Path

import pytest
import torch

from parckit.cli.main import main
from pictures import break_picture, write_pictures
from training_processes import PATIENCE, command, ends, fork, fork_together, launch
from training_state import assert_same, state_of

OPTIONS = (
    "--trainer.max_epochs=2",
    "--trainer.limit_train_batches=4",
    "--trainer.limit_val_batches=1",
    "--trainer.num_sanity_val_steps=0",
    "--trainer.accelerator=cpu",
    "--trainer.devices=2",
    "--data.workers=0",
    "--data.batch_size=8",
    "--ema={decay: 0.9}",
    "--trainer.log_every_n_steps=1",
    "--save_minutes=1e-6",  # after every step
    "--resume=auto",
)
WITH_BATCH_NORMS = (
    "--model.name=test_parcnet",
    '--model.kwargs={"img_size": 32, "depths": [1, 1, 1], "drop_rate": 0.2, "block_drop_rate": 0.1}',
)
ENDLESS = "--trainer.max_epochs=10000"
LOST = "parckit: error: another process of this training has ended"


@pytest.fixture
def arguments(start_training: tuple[str, ...], tmp_path: Path) -> tuple[str, ...]:
    return (*start_training, *OPTIONS, f"--out={tmp_path / 'run'}")


@pytest.fixture
def logs(tmp_path: Path) -> Path:
    """Return the folder for what processes print."""
    folder = tmp_path / "logs"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module", autouse=True)
def begun_once(begun: Path) -> None:
    """Train in this process first, so that its forks find ready what a training loads and builds."""


def kill(folder: Path, number: int, *, how: signal.Signals = signal.SIGKILL) -> None:
    """Send a signal to a process of `command`."""
    os.kill(int((folder / f"pid-{number}").read_text().split()[-1]), how)


def wait_for(path: Path) -> None:
    """Wait until a file is there."""
    end = time.monotonic() + PATIENCE
    while not path.exists():
        assert time.monotonic() < end, f"{path} does not come"
        time.sleep(0.01)


def said(folder: Path, number: int) -> list[str]:
    """Return the lines that a process of `command` wrote to standard error."""
    return (folder / f"err-{number}").read_text().splitlines()


def steps_of(metrics: Path) -> list[int]:
    with metrics.open() as file:
        return [int(row["step"]) for row in csv.DictReader(file)]


def test_only_the_first_process_prints_and_a_restart_ends_with_the_same_weights(arguments, logs, tmp_path):
    arguments = (*arguments, *WITH_BATCH_NORMS)
    whole, run = tmp_path / "whole", tmp_path / "run"
    assert [ends(process) for process in fork_together(command, logs, (*arguments, f"--out={whole}"))] == [0, 0]
    printed = (logs / "out-0").read_text().splitlines()
    assert printed[4].startswith("16 images per step (8 x 1 accumulated x 2 processes), 4 steps per epoch")
    assert f"last checkpoint: {whole / 'last.ckpt'}" in printed
    assert len(printed) == len(set(printed)) == 9
    assert [(logs / name).read_text() for name in ("err-0", "out-1", "err-1")] == ["", "", ""]
    assert [path.name for path in (whole / "logs").iterdir()] == ["version_0"]

    shutil.rmtree(logs)
    logs.mkdir()
    agent = fork(launch, logs, arguments, 1)
    wait_for(run / "last.ckpt")
    kill(logs, 1)
    assert ends(agent) == 0
    assert len((logs / "pid-1").read_text().split()) == 2
    assert min(steps_of(run / "logs" / "version_1" / "metrics.csv")) > 0
    assert_same(state_of(run / "last.ckpt"), state_of(whole / "last.ckpt"))


def test_a_killed_process_ends_the_run(arguments, logs, tmp_path):
    processes = fork_together(command, logs, (*arguments, ENDLESS))
    wait_for(tmp_path / "run" / "last.ckpt")
    kill(logs, 0)  # the agent above loses process 1
    assert ends(processes[1]) == 1
    assert said(logs, 1)[-1].startswith(LOST)
    assert torch.load(tmp_path / "run" / "last.ckpt", weights_only=True)["global_step"] > 0


def test_an_error_of_one_process_ends_the_run(arguments, logs, tmp_path):
    for split in ("train", "val"):
        write_pictures(tmp_path / "pictures" / split, count=6)
    # The second image of the split is the first image of process 1.
    path = break_picture(tmp_path / "pictures" / "val", number=1, colour="blue")
    processes = fork_together(command, logs, (*arguments, f"--data={tmp_path / 'pictures'}"))
    assert [ends(process) for process in processes] == [1, 2]
    (line,) = said(logs, 1)
    assert str(path) in line
    assert [line.startswith(LOST) for line in said(logs, 0)] == [True]


def test_a_process_asked_to_end_takes_the_others_along(arguments, logs, tmp_path):
    last = tmp_path / "run" / "last.ckpt"
    processes = fork_together(command, logs, (*arguments, ENDLESS, "--save_minutes=1000"))
    wait_for(last)
    steps = torch.load(last, weights_only=True)["global_step"]
    kill(logs, 1, how=signal.SIGTERM)
    assert [ends(process) for process in processes] == [143, 143]
    (line,) = said(logs, 0)
    assert line.startswith("parckit: error: asked to end;")
    assert torch.load(last, weights_only=True)["global_step"] > steps


class Ended(BaseException):
    """The signal that a launcher sends to a waiting process."""


@pytest.mark.parametrize(("variable", "number"), [("RANK", 3), ("LOCAL_RANK", 1), ("SLURM_PROCID", 2)])
def test_what_all_processes_find_is_left_to_the_first(variable, number, monkeypatch, capsys):
    def ended(seconds: float) -> None:
        raise Ended

    monkeypatch.setattr(time, "sleep", ended)
    monkeypatch.setenv(variable, str(number))
    with pytest.raises(Ended):
        main(["train", "--nope=3"])
    assert capsys.readouterr().err == ""
    monkeypatch.setenv(variable, "0")
    with pytest.raises(SystemExit):
        main(["train", "--nope=3"])
    assert "--nope=3" in capsys.readouterr().err


def test_a_process_that_fails_alone_says_why(monkeypatch, capsys):
    waited: list[float] = []
    monkeypatch.setattr(time, "sleep", waited.append)
    monkeypatch.setenv("RANK", "3")
    with pytest.raises(SystemExit) as ending:
        main(["train", "--nope=3"])
    assert ending.value.code == 2
    assert len(waited) == 1
    assert "--nope=3" in capsys.readouterr().err
