"""Names of the files that a verb writes, one for each picture."""

import unicodedata
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path


class FileNames:
    """Gives every answer a file of its own in a folder. No file is written twice, and no picture is overwritten.

    Pictures of different folders may have the same name. Some file systems take `A` for `a`, and the two ways to write
    an accent in Unicode for one another.

    Args:
        folder: where the files lie.
        pictures: the pictures that are answered.
    """

    def __init__(self, folder: Path, *, pictures: Sequence[Path]) -> None:
        self._folder = folder
        parents = {path.parent for path in pictures}
        same = {parent for parent in parents if folder.exists() and parent.exists() and parent.samefile(folder)}
        self._taken = {_as_systems_see(path.name) for path in pictures if path.parent in same}
        self._next_number = defaultdict[str, int](lambda: 1)

    def path(self, name: str, ending: str) -> Path:
        """Return `NAME` + ending, or `NAME.2` + ending if that name is taken, and so on."""
        key = _as_systems_see(name + ending)
        while True:
            number = self._next_number[key]
            self._next_number[key] += 1
            file = f"{name}{ending}" if number == 1 else f"{name}.{number}{ending}"
            if _as_systems_see(file) not in self._taken:
                self._taken.add(_as_systems_see(file))
                return self._folder / file


def _as_systems_see(name: str) -> str:
    """Return the same text for all names that some file system takes for the same."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())
