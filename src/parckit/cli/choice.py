"""The options that choose among a bundle's artefacts, for every verb that runs one."""

from typing import TypedDict

from jsonargparse import Namespace

from parckit.contract import Precision
from parckit.options import Parser


def add_choice(parser: Parser) -> None:
    """Add `--runtime`, `--precision` and `--artefact`."""
    parser.add_argument("--runtime", type=str | None, default=None, help="the engine; by default the first that fits")
    parser.add_argument("--precision", type=Precision | None, default=None, help="of a bundle's artefact")
    parser.add_argument("--artefact", type=str | None, default=None, help="name of a bundle's artefact")


class Choice(TypedDict):
    """Keywords of `open_session` and of all that opens one."""

    runtime: str | None
    precision: Precision | None
    artefact: str | None


def choice(args: Namespace) -> Choice:
    """Return what the options say."""
    return {"runtime": args.runtime, "precision": args.precision, "artefact": args.artefact}
