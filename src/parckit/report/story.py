"""The texts of a page that only its author knows."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

from parckit.contract import InputError
from parckit.options import read_yaml
from parckit.report.page import Headline

CARD_TEXTS = ("title", "intended_use", "data", "limits", "licence")
"""The texts that users may give in a file."""


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


def read_card(path: Path) -> Story:
    """Read the texts of a page from a YAML file.

    Raises:
        InputError: if the file cannot be read, or has anything but these texts.
    """
    content = read_yaml(path)
    accepted = f"accepted are texts for {', '.join(CARD_TEXTS)}"
    if not isinstance(content, Mapping):
        raise InputError(f"{path}: holds no keys with values; {accepted}")
    texts: dict[str, str] = {}
    for name, text in cast("Mapping[str, object]", content).items():
        if name not in CARD_TEXTS or not isinstance(text, str):
            raise InputError(f"{path}: {name}={text!r}; {accepted}")
        texts[name] = text
    return replace(Story(), **texts)
