"""README.md works as written: its blocks run in their order, in one folder, as a reader would run them."""

import os
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from processes import run
from repository import ROOT, copy_to

FENCE = re.compile(r"^```(?P<info>[^\n]*)\n(?P<code>.*?)^```$", re.MULTILINE | re.DOTALL)
RUN = {"bash", "python"}
SHOWN = {"text", "yaml", "json"}
# Setting up is what `make test` did before it came here; cloning and installing also need the network.
SETUP = re.compile(r"(git clone|cd parckit$|make|python3? -m (venv|pip)|pip install|source|\. \.venv)\b")
COMMAND = re.compile(r"^\W*(parckit|python3?|pip|make) ", re.MULTILINE)
SHARED = "../shared"


@dataclass(frozen=True, kw_only=True, slots=True)
class Block:
    line: int
    info: str
    code: str


def blocks() -> list[Block]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [
        Block(line=text.count("\n", 0, found.start()) + 1, info=found["info"], code=found["code"])
        for found in FENCE.finditer(text)
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


def test_all_blocks_run_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    scripts = Path(sys.executable).parent
    assert (scripts / "parckit").exists(), f"{scripts}: no parckit command; run `pip install --editable .`"
    monkeypatch.setenv("PATH", str(scripts), prepend=os.pathsep)
    folder = copy_to(tmp_path)
    for block in blocks():
        if block.info == "python":
            run(sys.executable, "-c", block.code, cwd=folder)
        if block.info == "bash":
            script = "\n".join(command for command in commands(block.code) if runnable(command))
            run("bash", "-euxo", "pipefail", "-c", script, cwd=folder)


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
