"""Tables on the terminal."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, unbroken: Collection[str] = ()) -> None:
    """Print a table. Columns of numbers are aligned to the right, the first column and columns of words to the left.

    Args:
        title: line above the table.
        columns: names of the columns.
        rows: the cells of every row.
        unbroken: columns whose cells are never broken into several lines, even in a narrow terminal.
    """
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    cells = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in cells)
        justify = "right" if numeric else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=column in unbroken)
    for row in cells:
        # Text shows a string as it is; rich would interpret names of files and classes that look like its markup.
        table.add_row(*map(Text, row))
    Console(soft_wrap=True).print(table)
