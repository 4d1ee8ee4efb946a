"""Running commands as a user would."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest


def run(*command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
    """Return what `command` prints on standard output; where it fails, show all that it said."""
    ran = subprocess.run(command, check=False, cwd=cwd, env=env, capture_output=True, text=True)
    assert ran.returncode == 0, f"{command} ended with exit code {ran.returncode}\n{ran.stdout}\n{ran.stderr}"
    return ran.stdout


MEMORY = 7_000_000
"""What every check of an engine finds while nothing is measured, bytes."""


def measure_no_memory(patch: pytest.MonkeyPatch) -> None:
    """Start no process that measures an engine's memory; it takes half a second or more for every file.

    tests/measure/test_memory.py starts some, and tests/cli/test_export.py looks for what an export writes of them.
    """
    for module in ("verify", "divergence", "quantize.checking"):
        patch.setattr(f"parckit.deploy.{module}.peak_memory", lambda *args, **options: MEMORY)
