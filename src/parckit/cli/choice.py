"""The options of all verbs that run a network: which artefact of a bundle, and how its outputs become answers."""

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


def add_overrides(parser: Parser) -> None:
    """Add `--top` and `--threshold`."""
    top = "classes to show for each picture; 3 by default. For classifiers"
    parser.add_argument("--top", type=int | None, default=None, help=top)
    threshold = "least probability, 0 to 1, of a label or box that is shown; below it, a classifier answers 'unknown'"
    parser.add_argument("--threshold", type=float | None, default=None, help=threshold)


def overrides(args: Namespace) -> dict[str, float]:
    """Return the options that the user has set, as overrides of the decoder's defaults."""
    return {name: args[name] for name in ("top", "threshold") if args[name] is not None}


def add_engines(parser: Parser) -> None:
    """Add `--engines`."""
    engines = "engines to compare, e.g. onnxruntime,openvino, or all that can run here; every artefact that fits"
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
