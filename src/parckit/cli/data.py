"""`parckit data`: pack, check and lay out images before training on them."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from parckit.cli.progress import track
from parckit.cli.tables import show, tell, to_json
from parckit.contract import InputError, check_place
from parckit.data.checking import SMALLEST, Finding, find_problems, inspect_files, list_files
from parckit.data.imagenet import Form, lay_out_imagenet
from parckit.data.packing import SHARD_SIZE, pack_folder
from parckit.data.splits import Named
from parckit.measure.environment import usable_cores
from parckit.options import Parser, Seed, Threads, verb_parser

_FOUND = 1
"""Exit code of a check that found problems. Mistakes in the arguments end with exit code 2, as in all verbs."""


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("data", description="Pack, check and lay out images before training on them.")
    actions = parser.add_subcommands(dest="action")
    for name, (action, _) in _ACTIONS.items():
        subparser = action()
        actions.add_subcommand(name, subparser, help=subparser.description)
        # jsonargparse's help writes "[options]" between verb and action, but no options are accepted there.
        subparser.prog = f"{parser.prog} {name}"
    args = parser.read(argv)
    _, run = _ACTIONS[args.action]
    run(args[args.action])


def _pack_parser() -> Parser:
    parser = verb_parser("data pack", description="Turn a folder of class folders into tar shards.")
    parser.add_argument("folder", type=Path, help="DIR/{train,val,test}/CLASS/IMAGE or DIR/CLASS/IMAGE")
    parser.add_argument("out", type=Path, help="new folder for the shards; appears when all are written")
    _add_shard_arguments(parser)
    return parser


def _check_parser() -> Parser:
    parser = verb_parser("data check", description="Find image files that would spoil a training. Exit code 1 if any.")
    parser.add_argument("folder", type=Path, help="folder to check, with its subfolders")
    smallest = "report images whose shorter side has fewer pixels as tiny"
    parser.add_argument("--smallest", type=PositiveInt, default=SMALLEST, help=smallest)
    parser.add_argument("--threads", type=Threads, default=usable_cores(), help="number of files read at once")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    return parser


def _imagenet_parser() -> Parser:
    parser = verb_parser("data imagenet", description="Lay out the official ILSVRC2012 archives for training.")
    parser.add_argument("archives", type=Path, help="folder with the archives under their official names")
    parser.add_argument("out", type=Path, help="new folder; appears when all files are written")
    parser.add_argument("--form", type=Form, default="folders", help="folders of images, or tar shards")
    _add_shard_arguments(parser)
    return parser


def _add_shard_arguments(parser: Parser) -> None:
    parser.add_argument("--shard_size", type=PositiveInt, default=SHARD_SIZE, help="most images per shard")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of the order of the images in the shards")


def _pack(args: Namespace) -> None:
    check_place(args.out, option="out")
    counts = pack_folder(
        args.folder,
        args.out,
        shard_size=args.shard_size,
        seed=args.seed,
        track=partial(track, description="packing"),
    )
    _print_counts(args.out, counts)


def _imagenet(args: Namespace) -> None:
    check_place(args.out, option="out")
    counts = lay_out_imagenet(
        args.archives,
        args.out,
        form=args.form,
        shard_size=args.shard_size,
        seed=args.seed,
        track=partial(track, description="laying out"),
    )
    _print_counts(args.out, counts)


def _print_counts(out: Path, counts: Mapping[Named, int]) -> None:
    tell(f"{out}: " + ", ".join(f"{count} {split} images" for split, count in counts.items()))


def _check(args: Namespace) -> None:
    files = list_files(args.folder)
    inspected = track(inspect_files(files, threads=args.threads), description="checking", total=len(files))
    images = [inspection for inspection in inspected if inspection is not None]
    if not images:
        raise InputError(
            f"{args.folder}: none of its {len(files)} files is an image; images inside shards are not checked"
        )
    findings = find_problems(images, smallest=args.smallest)
    if args.json:
        plain = [
            {"file": str(finding.path), "problem": finding.problem, "detail": finding.detail} for finding in findings
        ]
        print(to_json(plain, indent=2))
    elif findings:
        rows = [(str(finding.path.relative_to(args.folder)), finding.problem, finding.detail) for finding in findings]
        show(_summary(args.folder, findings), ("file", "problem", "detail"), rows, unbroken=("problem",))
    else:
        tell(f"{args.folder}: no problems found in {len(images)} images")
    if findings:
        sys.exit(_FOUND)


def _summary(folder: Path, findings: Sequence[Finding]) -> str:
    counts = Counter(finding.problem for finding in findings)
    return f"{folder}: " + ", ".join(f"{count} {problem}" for problem, count in counts.items())


_ACTIONS: Mapping[str, tuple[Callable[[], Parser], Callable[[Namespace], None]]] = {
    "pack": (_pack_parser, _pack),
    "check": (_check_parser, _check),
    "imagenet": (_imagenet_parser, _imagenet),
}
