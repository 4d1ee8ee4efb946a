"""Running commands as a user would."""

import multiprocessing
import os
import signal
import subprocess
from collections import Counter
from collections.abc import Mapping
from ctypes import c_int
from pathlib import Path
from threading import Timer


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


def train_until_dead(argv: list[str], *, saved: Path, steps: int, delay: float, counter: c_int) -> None:
    """Run `parckit train` until some time after it saved, and send it SIGKILL then, whatever it is about.

    Args:
        argv: of the command.
        saved: the file that it writes anew.
        steps: of the optimizer that follow, at least one.
        delay: from the last of them on, seconds.
        counter: of all its steps, in memory that is shared.
    """
    from torch.optim.optimizer import register_optimizer_step_post_hook

    before, left = inode(saved), steps

    def count(*_: object) -> None:
        nonlocal left
        counter.value += 1
        if left == steps and inode(saved) == before:
            return
        left -= 1
        if left == 0:
            Timer(delay, os.kill, (os.getpid(), signal.SIGKILL)).start()

    register_optimizer_step_post_hook(count)
    train(argv)


def inode(path: Path) -> int | None:
    """Return what tells one file of a name from the next."""
    try:
        return path.stat().st_ino
    except FileNotFoundError:
        return None


def train_until(argv: list[str], *, moment: tuple[str, str]) -> None:
    """Run `parckit train` until it is about to do something the second time, and send it SIGKILL then.

    Args:
        argv: of the command.
        moment: "fsync" or "replace", and the name of the synchronized file or of the replaced one. A temporary file
            goes by its target's name.
    """
    fsync, replace, reached = os.fsync, Path.replace, Counter[tuple[str, str]]()

    def reach(*here: str) -> None:
        reached[here] += 1
        if here == moment and reached[here] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

    def watched_fsync(descriptor: int) -> None:
        name = Path(f"/proc/self/fd/{descriptor}").readlink().name
        reach("fsync", name.removeprefix(".").split("~")[0])
        fsync(descriptor)

    def watched_replace(path: Path, target: str | os.PathLike[str]) -> Path:
        reach("replace", Path(target).name)
        return replace(path, target)

    os.fsync, Path.replace = watched_fsync, watched_replace
    train(argv)
