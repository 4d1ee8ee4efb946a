"""Converters that are programs. They run in a process of their own, because some print much or crash."""

import subprocess
from collections.abc import Sequence
from pathlib import Path

from parckit.contract import shorten_message
from parckit.deploy.errors import ExportError

_LAST_LINES = 3
"""Number of a program's last lines that an error shows."""
_LONGEST_SECONDS = 1800
"""A program that runs longer is stopped. Our largest networks take less than a minute; some programs can hang."""


def run_tool(command: Sequence[str], *, name: str, folder: Path, makes: Path) -> str:
    """Run a program and return what it printed.

    Args:
        command: the program and its arguments.
        name: what an error calls it.
        folder: the folder in which it runs.
        makes: the file that it must write.

    Raises:
        ExportError: if it fails, does not end or does not write the file.
    """
    try:
        # S603: the command contains only our own strings.
        done = subprocess.run(  # noqa: S603
            command,
            capture_output=True,
            text=True,
            errors="replace",
            check=False,
            cwd=folder,
            timeout=_LONGEST_SECONDS,
        )
    except subprocess.TimeoutExpired as error:
        raise ExportError(f"{name} did not convert the network within {_LONGEST_SECONDS:g} seconds") from error
    printed = done.stdout + done.stderr
    if done.returncode or not makes.is_file():
        reason = shorten_message(" ".join(printed.strip().split("\n")[-_LAST_LINES:]))
        raise ExportError(f"{name} cannot convert the network: exit code {done.returncode} ({reason})")
    return printed
