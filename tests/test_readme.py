"""README.md works as written: its blocks run in their order, in one folder, as a reader would run them.

Options that are appended to the commands cut trainings and measurements short. Commands run in this process, because a
new interpreter spends most of its time on importing torch.
"""

import os
import re
import shlex
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path
from typing import Any

import pytest

from parckit.cli.main import main
from processes import measure_no_memory, run
from repository import ROOT, copy_to

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"bash", "python"}
SHOWN = {"text", "yaml", "json"}
# Setting up is what `make test` did before it came here; cloning and installing also need the network.
SETUP = re.compile(r"(git clone|cd parckit$|make|python3? -m (venv|pip)|pip install|source|\. \.venv)\b")
COMMAND = re.compile(r"^\W*(parckit|python3?|pip|make) ", re.MULTILINE)
SHARED = "../shared"
BRIEF = {
    "train": (
        "--model.kwargs.depths=[1, 1, 1]",
        "--trainer.limit_train_batches=2",
        "--trainer.limit_val_batches=1",
        "--trainer.num_sanity_val_steps=0",
        "--data.batch_size=16",
    ),
    "bench": ("--warmup=0.05", "--seconds=0.1"),
    "export": ("--opset=17",),  # torch's older exporter takes a third of the time
}


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    line: int
    info: str
    code: str


def blocks() -> list[Block]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Block(line=text.count("\n", 0, match.start()) + 1, info=match["info"], code=match["code"])
        for match in FENCE.finditer(text)
    ]


def commands(code: str) -> list[str]:
    """Return a bash block's lines, continued ones joined."""
    return code.replace("\\\n", " ").splitlines()


def runnable(command: str) -> bool:
    """Tell whether a reader's folder suffices: no set-up, and no data from beside the clone, which takes hours."""
    return not SETUP.match(command) and SHARED not in command


def test_every_block_says_what_it_is():
    assert [f"README.md:{block.line}: {block.info!r}" for block in blocks() if block.info not in RUN | SHOWN] == []


def test_no_command_hides_in_a_block_that_is_not_run():
    assert [f"README.md:{block.line}" for block in blocks() if block.info in SHOWN and COMMAND.search(block.code)] == []


def test_no_command_hides_behind_set_up():
    setting_up = [command for block in blocks() for command in commands(block.code) if SETUP.match(command)]
    assert [command for command in setting_up if re.search(r"\bparckit [a-z]", command)] == []


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the reader's clone, in which all blocks run."""
    return copy_to(tmp_path_factory.mktemp("clone"))


@pytest.fixture
def in_folder(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(folder)
    measure_no_memory(monkeypatch)
    return folder


def words(command: str) -> Iterator[str]:
    """Split a command as a shell does, with file patterns replaced by the files."""
    for word in shlex.split(command, comments=True):
        yield from sorted(glob(word)) or [word]  # noqa: PTH207 - a shell's patterns, relative to the current folder


def run_command(command: str) -> int:
    """Run a command line of parckit in this process, and return its exit code."""
    program, *argv = words(command)
    assert program == "parckit", f"{command}: is no command of parckit"
    try:
        main([*argv, *BRIEF.get(argv[0], ())])
    except SystemExit as ending:
        return int(ending.code or 0)
    return 0


def run_python(code: str) -> int:
    """Run a block of Python, and return 0; a reader's would have imported nothing before."""
    exec(compile(code, "README.md", "exec"), {"__name__": "__main__"})  # noqa: S102  # our own documentation
    return 0


def steps_of(block: Block) -> list[Any]:
    """Return what a reader does with a block, as parameters of a test: how a step is run, and its text."""
    if block.info == "python":
        return [pytest.param(run_python, block.code, id=f"{block.line} python")]
    return [
        pytest.param(run_command, command, id=f"{block.line} {' '.join(command.split()[:2])}")
        for command in commands(block.code)
        if runnable(command)
    ]


def test_the_installed_command_runs_in_a_shell(in_folder, monkeypatch):
    scripts = Path(sys.executable).parent
    assert (scripts / "parckit").exists(), f"{scripts}: no parckit command; run `pip install --editable .`"
    monkeypatch.setenv("PATH", str(scripts), prepend=os.pathsep)
    first = next(command for block in blocks() for command in commands(block.code) if runnable(command))
    assert "usage: parckit" in run("bash", "-euo", "pipefail", "-c", first)


# The tests of this function need each other: each step uses the files that the steps before it left.
@pytest.mark.parametrize(
    ("run_step", "text"), [step for block in blocks() if block.info in RUN for step in steps_of(block)]
)
def test_all_steps_run_in_their_order(run_step, text, in_folder):
    assert run_step(text) == 0


def make_targets() -> set[str]:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    return set(re.findall(r"^([a-z]+):", text, re.MULTILINE))


def test_every_make_target_named_exists():
    named = {
        target
        for block in blocks()
        if block.info == "bash"
        for command in commands(block.code)
        if command.startswith("make")
        for target in re.findall(r"\b[a-z]+\b", command.split("#")[0])[1:]
    }
    assert named - make_targets() == set()
