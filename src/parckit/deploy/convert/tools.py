"""Converters that are programs. They run in a process of their own, because some print much or crash."""

import subprocess
import textwrap
from collections.abc import Sequence
from pathlib import Path

from parckit.deploy.errors import ExportError

_REASON_CHARS = 300
"""Number of characters of a program's last lines that an error shows."""
_LAST_LINES = 3


def run_tool(command: Sequence[str], *, name: str, folder: Path, makes: Path) -> str:
    """Run a program and return what it printed.

    Args:
        command: the program and its arguments.
        name: what an error calls it.
        folder: the folder in which it runs.
        makes: the file that it must write.

    Raises:
        ExportError: if it fails or does not write the file.
    """
    # S603: the command contains only our own strings.
    done = subprocess.run(command, capture_output=True, text=True, errors="replace", check=False, cwd=folder)  # noqa: S603
    printed = done.stdout + done.stderr
    if done.returncode or not makes.is_file():
        reason = textwrap.shorten(" ".join(printed.split("\n")[-_LAST_LINES:]), _REASON_CHARS)
        raise ExportError(f"{name} cannot convert the network: exit code {done.returncode} ({reason})")
    return printed
