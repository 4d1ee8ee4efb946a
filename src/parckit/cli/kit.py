"""`parckit kit`: what the compiler of a board's maker takes, and what it made."""

from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.progress import track
from parckit.cli.tables import show, tell
from parckit.contract import InputError
from parckit.data import Split
from parckit.deploy.kits import BUNDLE, KITS
from parckit.deploy.kits.checking import check_kit
from parckit.deploy.kits.writing import KitSettings, add_compiled, target_of, write_kit
from parckit.measure.evaluation import EvaluationData
from parckit.options import parse_names, verb_parser

_DESCRIPTION = (
    "Write the folder that the compiler of a board's maker starts from: --data and --target. "
    "Or check one (--check), or add the compiled network to its bundle (--add)."
)


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("kit", description=_DESCRIPTION)
    path = "a bundle that was exported for the board; with --check or --add, a kit; --check also takes a .yaml file"
    parser.add_argument("path", type=Path, help=path)
    parser.add_argument("--target", type=str | None, default=None, help=f"the board: {', '.join(KITS)}")
    parser.add_argument("--out", type=Path | None, default=None, help="folder of the kit")
    data = "calibration pictures: a folder of pictures, or a source of labelled data"
    parser.add_argument("--data", type=str | None, default=None, help=data)
    parser.add_argument("--split", type=Split, default="train", help="part of --data that calibrates")
    parser.add_argument("--samples", type=int, default=100, help="number of calibration pictures")
    raised = "nodes with more than 8 bits, names with commas between; by default those that parckit quantize raised"
    parser.add_argument("--raised", type=str | None, default=None, help=raised)
    parser.add_argument("--seed", type=int, default=0, help="chooses the calibration pictures")
    check = "compare a kit, or a YAML file of hb_mapper makertbin, with the files that it names"
    parser.add_argument("--check", action="store_true", help=check)
    add = "the file that the board's compiler made; it becomes an artefact of the kit's bundle"
    parser.add_argument("--add", type=Path | None, default=None, help=add)
    args = parser.read(argv)
    parser.refuse_idle(args, _effects(args))
    if args.check:
        tell_check(args.path)
    elif args.add is not None:
        _add(args)
    else:
        _write(args)


def _effects(args: Namespace) -> list[tuple[str, bool, str]]:
    """Return which options have an effect; see `Parser.refuse_idle`."""
    of_writing = ("out", "data", "split", "samples", "raised", "seed")
    return [
        *((name, not args.check, "with --check") for name in (*of_writing, "target", "add")),
        *((name, args.add is None, "with --add") for name in of_writing),
    ]


def tell_check(path: Path) -> None:
    """Print what is wrong in a kit or a configuration.

    Raises:
        InputError: if something is wrong.
    """
    faults = check_kit(path)
    for fault in faults:
        tell(f"{path}: {fault}")
    if faults:
        raise InputError(f"{path}: {len(faults)} fault{'' if len(faults) == 1 else 's'}: the lines above say what")
    tell(f"{path}: every name, shape and file is there")


def show_kit(out: Path, *, target: str, raised: tuple[str, ...]) -> None:
    """Print what a kit holds."""
    rows = [("board", target), ("nodes with more than 8 bits", ", ".join(raised) or "none")]
    rows += [("file", f"{path.name}{'/' if path.is_dir() else ''}") for path in sorted(out.iterdir())]
    show(f"kit {out}", ("property", "value"), rows)
    tell(f"what to do next: {out / 'README.md'}")


def _write(args: Namespace) -> None:
    for option, value in (("--target", args.target), ("--out", args.out), ("--data", args.data)):
        if value is None:
            raise InputError(f"{option}: is missing; a kit needs --target, --out and --data")
    raised = None if args.raised is None else parse_names(args.raised)
    settings = KitSettings(target=args.target, samples=args.samples, raised=raised, seed=args.seed)
    data = EvaluationData(source=args.data, split=args.split)
    names = write_kit(
        args.path, args.out, data, settings=settings, track=lambda items: track(items, description="calibration")
    )
    show_kit(args.out, target=args.target, raised=names)


def _add(args: Namespace) -> None:
    target = args.target or target_of(args.path)
    contract = add_compiled(args.path, args.add, target=target)
    bundle = args.path / BUNDLE if (args.path / BUNDLE).is_dir() else args.path
    engines = " or ".join(KITS[target].compiled.engines)
    tell(f"added: {contract.artefacts[-1].name} in {bundle}; on the board: parckit predict, with --runtime {engines}")
