"""Names of the files that a verb writes, one for each picture."""

from collections import Counter
from pathlib import Path


class FileNames:
    """Gives every picture a name of its own: files of different folders may have the same name.

    Args:
        folder: where the files lie.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._times_given = Counter[str]()

    def path(self, name: str, ending: str) -> Path:
        """Return `NAME` + ending, or `NAME.2` + ending if the name comes for the second time."""
        self._times_given[name] += 1
        times = self._times_given[name]
        return self._folder / (f"{name}{ending}" if times == 1 else f"{name}.{times}{ending}")
