"""Running commands as a user would."""

import multiprocessing
import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what `command` prints on standard output; where it fails, show all that it said."""
    ran = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command} ended with exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


def train(argv: list[str]) -> None:
    """Run `parckit train` in a process that `multiprocessing` made, with loaders' workers forked as in any other."""
    from parckit.cli.train import main  # other users of this file should not wait for it

    multiprocessing.set_start_method("fork", force=True)
    main(argv)
