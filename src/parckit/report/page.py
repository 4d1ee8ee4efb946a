"""One self-contained HTML page that tells what was trained, how well it does, how fast it is and how to repeat it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt
from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from parckit.contract import replacing
from parckit.report.figures import data_uri, picture_uri


@dataclass(frozen=True, kw_only=True, slots=True)
class Headline:
    """One figure of the row on top.

    Attributes:
        label: what it is, two or three words.
        value: the number with its unit, as it is to be read.
        note: what to compare it with; may be empty.
    """

    label: str
    value: str
    note: str = ""


@dataclass(frozen=True, kw_only=True, slots=True)
class Picture:
    """A figure with its words.

    Attributes:
        title: heading.
        figure: what `parckit.report.plots` draws.
        alt: what the figure shows, for those who cannot see it.
        caption: sentence below it.
    """

    title: str
    figure: Figure
    alt: str
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class Table:
    """A table of ready-made cells; the first of a row names the row, columns of numbers are set flush right.

    Attributes:
        title: heading.
        columns: names of the columns.
        rows: cells as they are to be read.
        caption: sentence below it; may be empty.
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
        """For each column, whether every cell starts as a number does."""
        return tuple(
            all(row[index][:1] in set("0123456789-") for row in self.rows) for index in range(len(self.columns))
        )


@dataclass(frozen=True, kw_only=True, slots=True)
class Tile:
    """One picture of a gallery.

    Attributes:
        pixels: (H, W, 3) RGB, uint8.
        heading: a word or two above it.
        note: a few words below it; may be empty.
        is_marked: whether it is framed, so that it stands out.
    """

    pixels: npt.NDArray[np.uint8]
    heading: str
    note: str = ""
    is_marked: bool = False


@dataclass(frozen=True, kw_only=True, slots=True)
class Gallery:
    """Pictures side by side, as many in a row as fit.

    Attributes:
        title: heading.
        tiles: the pictures.
        caption: sentence below them.
    """

    title: str
    tiles: tuple[Tile, ...]
    caption: str


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a stranger must know before using the model.

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
        facts: machine, versions, commit, seed.
        commands: shell lines that give these results again; may be empty.
    """

    facts: Mapping[str, str]
    commands: tuple[str, ...]


@dataclass(frozen=True, kw_only=True, slots=True)
class Report:
    """Everything the page shows; all strings are plain text.

    Attributes:
        title: heading of the page.
        summary: the result in one or two sentences.
        headlines: the numbers that matter, most important first.
        pictures: in order of reading.
        tables: in order of reading.
        gallery: pictures with answers; None without any.
        card: the model card.
        provenance: machine, versions and commands.
    """

    title: str
    summary: str
    headlines: tuple[Headline, ...]
    pictures: tuple[Picture, ...] = field(default=())
    tables: tuple[Table, ...] = field(default=())
    gallery: Gallery | None = None
    card: ModelCard
    provenance: Provenance


def write_report(path: Path, report: Report) -> None:
    """Write the page, whole or not at all; it needs no other file and no network."""
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
        temporary.write_text(page, encoding="utf-8")
