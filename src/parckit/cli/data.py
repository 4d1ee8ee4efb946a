"""`parckit data`: pack, check, lay out and convert images before training on them, and fit prior boxes to them."""

import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt

from parckit.cli.data_convert import convert, convert_parser
from parckit.cli.data_priors import priors, priors_parser
from parckit.cli.progress import track
from parckit.cli.tables import show, tell, to_json
from parckit.contract import InputError, Task, check_place
from parckit.data import check_boxes, check_masks, name_source
from parckit.data.boxes import find_layout
from parckit.data.checking import SMALLEST, Finding, Inspection, find_hidden_images, find_problems, inspect
from parckit.data.checklist import Member, list_members
from parckit.data.imagenet import Form, lay_out_imagenet
from parckit.data.packing import SHARD_SIZE, pack
from parckit.data.similar import MOST
from parckit.data.splits import Named
from parckit.measure.environment import usable_cores
from parckit.options import Parser, Seed, Threads, verb_parser

_FOUND = 1
"""Exit code of a check that found problems. Mistakes in the arguments end with exit code 2, as in all verbs."""

_DOUBTFUL = 20


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("data", description="Pack, check, lay out and convert images before training on them.")
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
    parser = verb_parser("data pack", description="Turn class folders, or a list of files, into tar shards.")
    source = "DIR/{train,val,test}/CLASS/IMAGE, DIR/CLASS/IMAGE, or a list of files (.csv, .txt)"
    parser.add_argument("source", type=str, help=source)
    parser.add_argument("out", type=Path, help="new folder for the shards; appears when all are written")
    _add_shard_arguments(parser)
    return parser


def _check_parser() -> Parser:
    parser = verb_parser("data check", description="Find image files that would spoil a training. Exit code 1 if any.")
    source = "what training takes: folders, shards, lists of files, hf://NAME; of other folders all files are checked"
    parser.add_argument("source", type=str, nargs="+", help=source)
    task = "what the images are for: multilabel reads several labels an image, detect boxes, segment masks"
    parser.add_argument("--task", type=Task, default="classify", help=task)
    smallest = "report images whose shorter side has fewer pixels as tiny"
    parser.add_argument("--smallest", type=PositiveInt, default=SMALLEST, help=smallest)
    threads = "number of files read at once; null: one for each core"
    parser.add_argument("--threads", type=Threads | None, default=None, help=threads)  # pyright: ignore[reportOperatorIssue]
    model = "a classifier of these classes: also list the images whose class it doubts most"
    parser.add_argument("--model", type=Path | None, default=None, help=model)
    doubtful = f"how many of the images with a doubtful class are listed; null: {_DOUBTFUL}"
    parser.add_argument("--doubtful", type=PositiveInt | None, default=None, help=doubtful)  # pyright: ignore[reportOperatorIssue]
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
    counts = pack(
        args.source,
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


class _Checked(NamedTuple):
    """What a check found: lines about the source, problems, and the number of images."""

    lines: list[str]
    findings: list[Finding]
    images: int


def _check(args: Namespace) -> None:
    has_places = args.task in ("detect", "segment")
    lines, findings, images = _check_places(args) if has_places else _check_images(args)
    name = name_source(args.source)
    if args.json:
        plain = [
            {"file": str(finding.path), "problem": finding.problem, "detail": finding.detail} for finding in findings
        ]
        print(to_json(plain, indent=2))
    else:
        for line in lines:
            tell(line)
        if findings:
            rows = [(_shorten(finding.path, args.source), finding.problem, finding.detail) for finding in findings]
            show(_summary(name, findings), ("file", "problem", "detail"), rows, unbroken=("problem",))
        else:
            tell(f"{name}: no problems found in {images} images")
    if findings:
        sys.exit(_FOUND)


def _check_places(args: Namespace) -> _Checked:
    """Check boxes or masks, and read every picture that training and evaluation see."""
    if len(args.source) > 1:
        raise InputError(f"data check --task {args.task}: takes one source")
    for option in ("model", "doubtful"):
        if args[option] is not None:
            raise InputError(f"--{option} {args[option]}: data check --task {args.task} has no such option")
    (source,) = args.source
    is_masks, threads = args.task == "segment", args.threads or usable_cores()
    report = check_masks(source, threads=threads) if is_masks else check_boxes(source)
    images = _inspect(report.files, args)
    findings = [*report.problems, *find_problems(images, smallest=args.smallest)]
    return _Checked([*report.lines, *_unsearched(images)], findings, report.pictures)


def _check_images(args: Namespace) -> _Checked:
    """Read every image that training and evaluation see."""
    from parckit.measure.evaluators import evaluator_of  # opens torchmetrics, which the other actions are spared

    checklist = list_members(args.source, open_table=evaluator_of(args.task).open_table)
    images = _inspect(checklist.members, args)
    if not images:
        raise InputError(f"{name_source(args.source)}: none of its {len(checklist.members)} files is an image")
    findings = [*find_hidden_images(checklist), *find_problems(images, smallest=args.smallest)]
    if args.model is not None:
        findings += _doubtful(args)
    lines = list(checklist.lines)
    lines += [
        f"{source}: holds boxes, too; --task detect checks them" for source in args.source if _holds_boxes(source)
    ]
    return _Checked([*lines, *_unsearched(images)], findings, len(images))


def _inspect(members: Sequence[Member], args: Namespace) -> list[Inspection]:
    """Read and decode images, and show a bar meanwhile. Files that are no images are left out."""
    inspected = inspect(members, threads=args.threads or usable_cores())
    inspected = track(inspected, description="checking", total=len(members))
    return [inspection for inspection in inspected if inspection is not None]


def _unsearched(images: Sequence[Inspection]) -> list[str]:
    is_searched = len(images) <= MOST
    return [] if is_searched else [f"more than {MOST} images: those that look alike are not searched for"]


def _holds_boxes(source: str) -> bool:
    try:
        find_layout(source)
    except InputError:
        return False
    return True


def _doubtful(args: Namespace) -> list[Finding]:
    from parckit.measure.doubts import find_doubts  # opens engines, which a check without model is spared

    doubts = find_doubts(
        args.model,
        args.source if len(args.source) > 1 else args.source[0],
        most=args.doubtful or _DOUBTFUL,
        threads=args.threads or usable_cores(),
        track=partial(track, description="asking the network"),
    )
    return [
        Finding(
            path=Path(doubt.name),
            problem="doubtful class",
            detail=f"{doubt.label} has {doubt.probability:.0%}, {doubt.answer} has {doubt.confidence:.0%}",
        )
        for doubt in doubts
    ]


def _shorten(path: Path, sources: Sequence[str]) -> str:
    """Return a path as seen from the folder that is checked, if there is only one."""
    folder = Path(sources[0]).expanduser()
    return str(path.relative_to(folder) if len(sources) == 1 and path.is_relative_to(folder) else path)


def _summary(name: str, findings: Sequence[Finding]) -> str:
    counts = Counter(finding.problem for finding in findings)
    return f"{name}: " + ", ".join(f"{count} {problem}" for problem, count in counts.items())


_ACTIONS: Mapping[str, tuple[Callable[[], Parser], Callable[[Namespace], None]]] = {
    "pack": (_pack_parser, _pack),
    "check": (_check_parser, _check),
    "imagenet": (_imagenet_parser, _imagenet),
    "convert": (convert_parser, convert),
    "priors": (priors_parser, priors),
}
