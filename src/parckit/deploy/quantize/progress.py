"""How long work shows its progress. Libraries show none; the command line draws a bar."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

Item = TypeVar("Item")


class Progress(Protocol):
    """Returns the items that it gets, and may show how far the work is."""

    def __call__(self, items: Iterable[Item], /, *, description: str) -> Iterable[Item]:
        """Return the items; `description` says what is done with them."""
        ...


def show_nothing(items: Iterable[Item], /, *, description: str) -> Iterable[Item]:
    """Return the items and show nothing."""
    del description
    return items
