"""Running commands as a user would."""

import multiprocessing
import os
import signal
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what `command` prints on standard output; where it fails, show all that it said."""
    ran = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command} ended with exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def train_apart(argv: list[str]) -> None:
    """Run `parckit train` in a group of processes of its own, as a terminal would, and with a terminal's signals."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # or under nohup
    train(argv)


def train(argv: list[str]) -> None:
    """Run `parckit train` in a process that `multiprocessing` made, with loaders' workers forked as in any other."""
    from parckit.cli.main import main  # other users of this file should not wait for it

    multiprocessing.set_start_method("fork", force=True)
    main(["train", *argv])
