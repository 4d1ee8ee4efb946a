"""The options that choose an artefact of a bundle, for all verbs that run a network."""

from typing import TypedDict

from jsonargparse import Namespace

from parckit.contract import Precision
from parckit.options import Parser


def add_choice(parser: Parser) -> None:
    """Add `--runtime`, `--precision` and `--artefact`."""
    parser.add_argument("--runtime", type=str | None, default=None, help="engine; by default the first one that fits")
    parser.add_argument("--precision", type=Precision | None, default=None, help="precision of the bundle's artefact")
    parser.add_argument("--artefact", type=str | None, default=None, help="name of the bundle's artefact")


class Choice(TypedDict):
    """The keywords with which `open_session` chooses an artefact and an engine."""

    runtime: str | None
    precision: Precision | None
    artefact: str | None


def choice(args: Namespace) -> Choice:
    """Return the options as keywords of `open_session`."""
    return {"runtime": args.runtime, "precision": args.precision, "artefact": args.artefact}
