"""Answers on the terminal: tables, and JSON."""

import json
from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from parckit.contract import printable


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, unbroken: Collection[str] = ()) -> None:
    """Print a table. Columns of numbers are aligned to the right, the first column and columns of words to the left.

    Args:
        title: line above the table.
        columns: names of the columns.
        rows: the cells of every row.
        unbroken: columns whose cells are never broken into several lines, even in a narrow terminal.
    """
    table = Table(title=_shown(title), title_justify="left", title_style="bold")
    cells = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in cells)
        justify = "right" if numeric else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=column in unbroken)
    for row in cells:
        table.add_row(*map(_shown, row))
    Console(soft_wrap=True).print(table)


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
