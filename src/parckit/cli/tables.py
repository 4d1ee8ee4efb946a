"""Tables on the terminal."""

from collections.abc import Collection, Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]], *, unbroken: Collection[str] = ()) -> None:
    """Print a table: the first column flush left, the others flush right unless they hold words.

    Args:
        title: line above.
        columns: their heads.
        rows: cells.
        unbroken: columns whose cells stay on one line; where the terminal is narrow the others give way.
    """
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    cells = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in cells)
        justify = "right" if numeric else "left"
        table.add_column(Text(column), justify=justify, overflow="fold", no_wrap=column in unbroken)
    for row in cells:
        table.add_row(*map(Text, row))  # plain: names of files and classes may look like markup
    Console(soft_wrap=True).print(table)
