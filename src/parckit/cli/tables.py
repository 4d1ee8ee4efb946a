"""Answers on the terminal: tables, and JSON."""

import json
import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from parckit.contract import printable

_LONG_WORD = 12
"""Letters of a word that a narrow table keeps in one line. Paths are longer, and are broken."""
_NUMBER = re.compile(r"[-+±]?\d[\d.,]*(e[-+]?\d+)?\D?")
"""A word that is a number, perhaps with a sign such as `%` or `x` behind it. It is never broken."""


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, unbroken: Collection[str] = ()) -> None:
    """Print a table. Columns of numbers are aligned to the right, the first column and columns of words to the left.

    Args:
        title: line above the table.
        columns: names of the columns.
        rows: the cells of every row.
        unbroken: columns whose cells are never broken into several lines, even in a narrow terminal.
    """
    cells = [tuple(row) for row in rows]
    console = Console(soft_wrap=True)
    layout = _fit(columns, cells, unbroken=unbroken, width=console.width)
    table = Table(title=_shown(title), title_justify="left", title_style="bold", padding=(0, layout.padding))
    for i, column in enumerate(columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in cells)
        justify = "right" if numeric else "left"
        table.add_column(
            Text(column), justify=justify, overflow="fold", no_wrap=column in unbroken, width=layout.widths[i]
        )
    for row in cells:
        table.add_row(*map(_shown, row))
    console.width = max(console.width, layout.width)
    console.print(table)


@dataclass(frozen=True, kw_only=True, slots=True)
class _Layout:
    """How wide the columns of a table are.

    Attributes:
        widths: letters of every column.
        padding: spaces on either side of a cell.
    """

    widths: tuple[int, ...]
    padding: int

    @property
    def width(self) -> int:
        """Width of the table with its lines."""
        return sum(self.widths) + (1 + 2 * self.padding) * len(self.widths) + 1


def _fit(columns: Sequence[str], cells: Sequence[Sequence[str]], *, unbroken: Collection[str], width: int) -> _Layout:
    """Return columns that fit into a width. Headings' words and numbers stay whole, even if the table is too wide then.

    rich alone would make all columns equally narrow and break headings, numbers and names alike.
    """
    texts = [(column, *(printable(row[i]) for row in cells)) for i, column in enumerate(columns)]
    widest = [max(map(cell_len, column)) for column in texts]
    layout = _Layout(widths=tuple(widest), padding=1)
    if layout.width <= width:
        return layout
    # Break long words of cells, such as paths. If that is not enough, leave out the padding, then break all words that
    # are no numbers.
    layouts: list[_Layout] = []
    for padding, whole in ((1, _LONG_WORD), (0, _LONG_WORD), (0, 0)):
        least = [
            most if column[0] in unbroken else _least(column[0], column[1:], whole=whole)
            for column, most in zip(texts, widest, strict=True)
        ]
        layouts.append(_Layout(widths=tuple(least), padding=padding))
        if layouts[-1].width <= width:
            return replace(layouts[-1], widths=_widen(least, widest, room=width - layouts[-1].width))
    # The terminal is too narrow for the headings and numbers, so to break the other cells does not help.
    return layouts[1]


def _widen(least: Sequence[int], widest: Sequence[int], *, room: int) -> tuple[int, ...]:
    """Give more letters to columns that need them, the narrowest ones first, until there is no room."""
    widths = list(least)
    for _ in range(room):
        needy = [i for i, most in enumerate(widest) if widths[i] < most]
        if not needy:
            break
        widths[min(needy, key=lambda i: widths[i])] += 1
    return tuple(widths)


def _least(heading: str, cells: Iterable[str], *, whole: int) -> int:
    """Return how many letters a column needs for its heading's words, its numbers, and words of `whole` letters."""
    words = [word for cell in cells for word in cell.split()]
    numbers = filter(_NUMBER.fullmatch, words)
    return max(_longest(heading.split()), _longest(numbers), min(_longest(words), whole))


def _longest(words: Iterable[str]) -> int:
    """Return the letters of the longest word."""
    return max(map(cell_len, words), default=0)


def format_number(value: float) -> str:
    """Return a positive number with about three digits that count."""
    hundred, ten = 100, 10
    return f"{value:.{0 if value >= hundred else 1 if value >= ten else 3 if value < 1 else 2}f}"


def tell(line: str) -> None:
    """Print a line at once: if the output goes to a file, Python would otherwise hold many lines back."""
    print(printable(line), flush=True)


def to_json(value: object, *, indent: int | None = None) -> str:
    """Return JSON with readable names; where a terminal would not show a character, all such ones are escaped."""
    text = json.dumps(value, indent=indent, ensure_ascii=False)
    is_shown = all(printable(line) == line for line in text.split("\n"))
    return text if is_shown else json.dumps(value, indent=indent)


def _shown(text: str) -> Text:
    # Text shows a string as it is; rich would interpret names of files and classes that look like its markup.
    return Text(printable(text))
