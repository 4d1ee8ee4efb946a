"""Progress bars of commands."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.progress import track as rich_track

Item = TypeVar("Item")


def track(items: Iterable[Item], /, *, description: str, total: int | None = None) -> Iterable[Item]:
    """Show how far items have come, on standard error, so that programs can read what is printed.

    Where that is no terminal, nothing is shown.
    """
    console = Console(stderr=True)
    return rich_track(items, description, total=total, console=console, disable=not console.is_terminal)
