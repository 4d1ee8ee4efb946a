"""One self-contained HTML page about a network: its training, accuracy, speed, and how to reproduce the numbers."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from parckit.contract import replacing
from parckit.report.figures import data_uri, picture_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One number of the row at the top of the page.

    Attributes:
        label: name of the number, two or three words.
        value: the number with its unit, as shown.
        note: a few words about it, such as what to compare it with; may be empty.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure and its texts.

    Attributes:
        title: heading.
        figure: what is drawn.
        alt: what the figure shows, for people who cannot see it.
        caption: sentence below the figure; may be empty.
    """

    title: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table. The first cell of a row is the name of the row. Columns of numbers are aligned to the right.

    Attributes:
        title: heading.
        columns: names of the columns.
        rows: the cells of every row, as shown.
        caption: sentence below the table; may be empty.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    caption: str = ""

    def __post_init__(self) -> None:
        for row in self.rows:
            if len(row) != len(self.columns):
                raise ValueError(f"table {self.title!r}: row {row} has {len(row)} cells, not {len(self.columns)}")

    @property
    def numeric(self) -> tuple[bool, ...]:
        """For every column, whether all cells begin like a number."""
        return tuple(
            all(row[index][:1] in set("0123456789-") for row in self.rows) for index in range(len(self.columns))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One picture of a gallery.

    Attributes:
        pixels: (H, W, 3) RGB, uint8.
        heading: one or two words above the picture.
        note: a few words below the picture; may be empty.
        is_marked: whether the picture has a coloured frame.
    """

    pixels: npt.NDArray[np.uint8]
    heading: str
    note: str = ""
    is_marked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Pictures side by side, as many in a row as fit.

    Attributes:
        tiles: the pictures.
        caption: sentence below the pictures.
        is_large: whether the pictures are shown large, because something small is drawn in them.
    """

    tiles: tuple[Tile, ...]
    caption: str
    is_large: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a user must know before using the model.

    Attributes:
        facts: short entries such as model, parameters, input size.
        sections: heading -> text, such as intended use, data, training, limits and licence.
    """

    facts: Mapping[str, str]
    sections: Mapping[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Provenance:
    """Where the numbers come from.

    Attributes:
        facts: name -> value, such as versions and commit.
        commands: shell commands that reproduce the numbers; may be empty.
    """

    facts: Mapping[str, str]
    commands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """A part of the page. What is empty is left out.

    Attributes:
        title: heading.
        tables: tables, in the order of the page.
        pictures: figures, below the tables.
        gallery: pictures with the network's answers; None if there are none.
    """

    title: str
    tables: tuple[Table, ...] = ()
    pictures: tuple[Picture, ...] = ()
    gallery: Gallery | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it shows nothing."""
        return not (self.tables or self.pictures or self.gallery)


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything that the page shows. All strings are plain text, not HTML.

    Attributes:
        title: heading of the page.
        summary: the result in one or two sentences.
        headlines: the main numbers, the most important first.
        sections: what was measured, in the order of the page; none is empty.
        card: the model card.
        provenance: versions and commands.
    """

    title: str
    summary: str
    headlines: tuple[Headline, ...]
    sections: tuple[Section, ...] = ()
    card: ModelCard
    provenance: Provenance


def write_report(path: Path, report: Report) -> None:
    """Write the page. It needs no other file and no internet. If writing fails, no partial file stays."""
    environment = Environment(
        loader=PackageLoader("parckit.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"data_uri": data_uri, "picture_uri": picture_uri}
    page = environment.get_template("report.html.j2").render(report=report)
    with replacing(path) as temporary:
        temporary.write_text(page, encoding="utf-8", errors="backslashreplace")  # a path may be no UTF-8
