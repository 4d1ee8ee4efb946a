"""Running `parckit train` for a benchmark: once, with its time, and going on after a break."""

import json
import shlex
import subprocess
import sys
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from parckit.measure.environment import describe

QUIET = ("--trainer.enable_progress_bar", "false")
_PATIENCE = 20.0
"""Seconds between two notes of the time spent. A training that is killed loses no more than these."""


def train(recipe: str, out: Path, options: Sequence[str] = (), *, seed: int) -> dict[str, object]:
    """Train with a recipe, and return command, commit and seconds.

    A training that is finished in OUT with the same command is not repeated. One that was cut off goes on, and its
    seconds are the sum of its parts. One with another command is replaced.

    Args:
        recipe: name of the recipe.
        out: folder of the training.
        options: further options of `parckit train`.
        seed: of the training.
    """
    command = ["train", "--config", recipe, "--out", str(out), "--seed", str(seed), *options]
    written = shlex.join(["parckit", *command]).replace(str(out.parent), "OUT")
    note = out.parent / f"{out.name}.training.json"
    spent = json.loads(note.read_text(encoding="utf-8")) if note.is_file() else {}
    is_same = spent.get("train_command") == written
    if is_same and spent["finished"]:
        return spent
    goes_on = is_same and (out / "last.ckpt").is_file()
    if not goes_on:
        spent = {"train_command": written, "train_commit": describe().commit, "train_seconds": 0.0, "parts": 0}
    spent |= {"parts": spent["parts"] + 1, "finished": False}
    ending = ("--resume", "auto") if goes_on else ("--overwrite",)
    out.parent.mkdir(parents=True, exist_ok=True)
    process = subprocess.Popen([sys.executable, "-m", "parckit.cli.main", *command, *QUIET, *ending])
    before, begun = spent["train_seconds"], time.monotonic()
    code = None
    while code is None:
        with suppress(subprocess.TimeoutExpired):
            code = process.wait(timeout=_PATIENCE)
        spent |= {"train_seconds": round(before + time.monotonic() - begun), "finished": code == 0}
        note.write_text(json.dumps(spent, indent=2) + "\n", encoding="utf-8")
    if code:
        raise subprocess.CalledProcessError(code, process.args)
    return spent
