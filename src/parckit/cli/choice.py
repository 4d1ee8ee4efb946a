"""The options that choose an artefact of a bundle, for all verbs that run a network."""

from typing import TypedDict

from jsonargparse import Namespace

from parckit.contract import InputError, Precision
from parckit.measure.candidates import Wanted
from parckit.options import Parser, parse_names


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


def add_engines(parser: Parser) -> None:
    """Add `--engines`."""
    engines = "engines to compare, e.g. onnxruntime,openvino, or all that are installed; every artefact that fits"
    parser.add_argument("--engines", type=str | None, default=None, help=engines)


def wanted_candidates(args: Namespace) -> Wanted:
    """Return the choice of engines and artefacts for verbs that compare candidates.

    Raises:
        InputError: if there are two choices of engines.
    """
    if args.runtime is not None and args.engines is not None:
        raise InputError(f"--runtime {args.runtime}, --engines {args.engines}: give one of them")
    engines = () if args.engines is None else parse_names(args.engines)
    return Wanted(engines=engines, runtime=args.runtime, precision=args.precision, artefact=args.artefact)
