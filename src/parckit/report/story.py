"""The texts of a page that only its author knows."""

from dataclasses import dataclass

from parckit.report.page import Headline


@dataclass(frozen=True, kw_only=True, slots=True)
class Story:
    """Texts for a page. An empty text is left out or made from the findings.

    Attributes:
        title: heading of the page.
        intended_use: what the network may be used for, and for what it may not.
        data: the data of training and test.
        limits: where the network fails, and what was not measured.
        licence: licences of code, weights and data.
        headlines: additional numbers for the top of the page.
        commands: shell commands that reproduce the results.
    """

    title: str = ""
    intended_use: str = ""
    data: str = ""
    limits: str = ""
    licence: str = ""
    headlines: tuple[Headline, ...] = ()
    commands: tuple[str, ...] = ()
