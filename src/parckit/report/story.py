"""What only the writer of a page knows."""

from dataclasses import dataclass

from parckit.report.page import Headline


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Words for a page; what is empty is left out, or told from what was collected.

    Attributes:
        title: heading of the page.
        intended_use: what the network is for, and what not.
        data: what it was trained and tested on.
        limits: where it fails, and what was not measured.
        licence: of code, weights and data.
        headlines: further numbers for the top of the page.
        commands: shell lines that give the same results again.
    """

    title: str = ""
    intended_use: str = ""
    data: str = ""
    limits: str = ""
    licence: str = ""
    headlines: tuple[Headline, ...] = ()
    commands: tuple[str, ...] = ()
