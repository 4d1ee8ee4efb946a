"""Progress bars of commands."""

from collections.abc import Iterable
from typing import TypeVar

from rich.console import Console
from rich.markup import escape
from rich.progress import track as rich_track

from parckit.contract import printable

Item = TypeVar("Item")


def track(items: Iterable[Item], /, *, description: str, total: int | None = None) -> Iterable[Item]:
    """Return the items, and show a progress bar on standard error. Standard output is left to results.

    If standard error is not a terminal, no bar is shown.
    """
    console = Console(stderr=True)
    return rich_track(
        items, escape(printable(description)), total=total, console=console, disable=not console.is_terminal
    )
