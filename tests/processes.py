"""Running commands as a user would."""

import subprocess
from collections.abc import Mapping
from pathlib import Path


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what `command` prints on standard output; where it fails, show all that it said."""
    ran = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command} ended with exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout
