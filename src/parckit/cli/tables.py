"""Tables on the terminal."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text


def show(title: str, columns: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print a table: the first column flush left, the others flush right unless they hold words."""
    table = Table(title=Text(title), title_justify="left", title_style="bold")
    cells = [tuple(row) for row in rows]
    for i, column in enumerate(columns):
        numeric = i > 0 and all(row[i][:1].isdigit() or row[i][:1] in "-+" for row in cells)
        table.add_column(Text(column), justify="right" if numeric else "left", overflow="fold")
    for row in cells:
        table.add_row(*map(Text, row))  # plain: names of files and classes may look like markup
    Console(soft_wrap=True).print(table)


def count(number: int) -> str:
    """Return a large number in millions or billions, as papers do."""
    billion = 1_000_000_000
    return f"{number / billion:.2f} G" if number >= billion else f"{number / 1_000_000:.2f} M"
