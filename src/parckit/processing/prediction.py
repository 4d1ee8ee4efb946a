"""What all answers about a picture have in common, whatever the task."""

from typing import ClassVar, Protocol

from PIL import Image


class Prediction(Protocol):
    """An answer about one picture. Printing it shows it in a terminal; notebooks show it as HTML.

    Attributes:
        columns: headings of `rows`.
    """

    columns: ClassVar[tuple[str, ...]]

    def rows(self) -> list[tuple[str, ...]]:
        """Return the rows of a table with the answer."""
        ...

    def to_plain(self) -> object:
        """Return what JSON can hold."""
        ...

    def draw(self, picture: Image.Image) -> Image.Image:
        """Return the picture with the answer drawn on it or beside it."""
        ...
