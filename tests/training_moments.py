"""Trainings that end before their time, each at a chosen moment."""

import os
import signal
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from torch.optim.optimizer import register_optimizer_step_post_hook

from parckit.cli.main import main


@dataclass(frozen=True, kw_only=True, slots=True)
class Moment:
    """When a training ends.

    Attributes:
        action: what it has just done ("step") or is about to do ("fsync", "replace").
        name: of the file or folder that is synchronized or replaced; empty for a step. A temporary file goes by its
            target's name, a file that is one of the best by "best".
        count: which of these actions of the process it is, from 1.
        signum: SIGKILL for this process, or another signal for it and its workers, as a terminal sends it.
    """

    action: str
    name: str = ""
    count: int
    signum: int = signal.SIGKILL


def train_until(moment: Moment, argv: list[str]) -> None:
    """Run `parckit train` until a moment, and send it a signal then."""
    os.setsid()  # a group of its own, as a terminal gives each command
    signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # ignored where they run under nohup
    reached = Counter[tuple[str, str]]()

    def reach(action: str, name: str = "") -> None:
        reached[action, name] += 1
        if (action, name, reached[action, name]) == (moment.action, moment.name, moment.count):
            send = os.kill if moment.signum == signal.SIGKILL else os.killpg
            send(os.getpid(), moment.signum)

    _watch_files(reach)
    register_optimizer_step_post_hook(lambda *_: reach("step"))
    main(["train", *argv])


def _watch_files(reach: Callable[[str, str], None]) -> None:
    """Call `reach` before a file or folder is synchronized and before a file is replaced."""
    fsync, replace = os.fsync, Path.replace

    def watched_fsync(descriptor: int) -> None:
        reach("fsync", _plain(Path(f"/proc/self/fd/{descriptor}").readlink().name))
        fsync(descriptor)

    def watched_replace(path: Path, target: str | os.PathLike[str]) -> Path:
        reach("replace", _plain(Path(target).name))
        return replace(path, target)

    os.fsync, Path.replace = watched_fsync, watched_replace


def _plain(name: str) -> str:
    target = name.removeprefix(".").split("~")[0]
    return "best" if target.startswith("best-") else target
