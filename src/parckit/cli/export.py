"""`parckit export`: from a checkpoint to a verified bundle."""

from dataclasses import fields
from pathlib import Path
from typing import cast

from jsonargparse import Namespace

from parckit.cli.kit import show_kit
from parckit.cli.tables import show, tell
from parckit.contract import Artefact, Check, Contract, InputError, Precision, check_place
from parckit.data import Split
from parckit.deploy import ExportSettings, Inspection, OnnxSettings, export, inspect, settings_for
from parckit.deploy.checking import open_network
from parckit.deploy.convert import CONVERTERS
from parckit.deploy.kits.writing import KitSettings, check_kit_place, write_kit
from parckit.deploy.quantize.pictures import open_table
from parckit.deploy.targets import find_target
from parckit.deploy.targets.comparison import place_of
from parckit.measure.cost import format_count
from parckit.measure.evaluation import EvaluationData
from parckit.options import Parser, parse_names, parse_size, verb_parser
from parckit.report.checks import describe_check

_USUAL = ExportSettings()
_SPELLED_OUT: set[str | int] = {"engines", "precision", "onnx"}
"""Settings whose options are not made from their type: words between commas, and settings with names of their own."""
_IDLE_IN_CHECKS = ("out", "data", "kit", "thresholds", "engines", "precision", "nms", "argmax")
"""Options that do not change the graph that `--check` looks at."""
_PRECISION = "precisions, separated by commas: fp32, fp16; each is made for those of the engines that run it"


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", description="Fuse a checkpoint and write a verified bundle for one or more engines.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt or .safetensors file, or shipped weights' name")
    parser.add_argument("--out", type=Path | None, default=None, help="folder of the bundle")
    check = "list the operators of the graph, compare them with the board of --target, and write nothing"
    parser.add_argument("--check", action="store_true", help=check)
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the checkpoint's")
    engines = f"engines, separated by commas: {', '.join(CONVERTERS)}"
    parser.add_argument("--engines", type=str, default=",".join(_USUAL.engines), help=engines)
    parser.add_argument("--precision", type=str, default=",".join(_USUAL.precision), help=_PRECISION)
    parser.add_class_arguments(ExportSettings, instantiate=False, skip=_SPELLED_OUT)
    parser.add_class_arguments(OnnxSettings, instantiate=False)
    thresholds = "several labels an image: least probability of every class, a record of eval or {CLASS: NUMBER}"
    parser.add_argument("--thresholds", type=Path | None, default=None, help=thresholds)
    kit_data = "calibration pictures; with --target, a kit for the board's compiler is written too (see parckit kit)"
    parser.add_argument("--data", type=str | None, default=None, help=kit_data)
    parser.add_argument("--split", type=Split, default="train", help="part of --data that calibrates")
    parser.add_argument("--samples", type=int, default=100, help="number of calibration pictures of the kit")
    kit = "folder of the kit; by default OUT_kit, beside the bundle"
    parser.add_argument("--kit", type=Path | None, default=None, help=kit)
    args = _read(parser, argv)
    parser.refuse_idle(args, [(name, not args.check, "with --check") for name in _IDLE_IN_CHECKS])
    parser.refuse_idle(args, [(name, args.data is not None, "without --data") for name in ("samples", "split")])
    settings, size = _settings(args), None if args.size is None else parse_size(args.size)
    if args.check:
        show_inspection(inspect(args.checkpoint, size=size, settings=settings), settings.target)
        return
    if args.out is None:
        raise InputError("--out: name the folder of the bundle, or type --check")
    check_place(args.out, option="--out")
    wanted_kit = _wanted_kit(args, size=size)
    contract = export(args.checkpoint, args.out, size=size, settings=settings, thresholds=args.thresholds)
    show_bundle(contract, args.out)
    if wanted_kit is not None:
        place, data, kit_settings = wanted_kit
        names = write_kit(args.out, place, data, settings=kit_settings)
        show_kit(place, target=kit_settings.target, raised=names)


def _wanted_kit(args: Namespace, *, size: tuple[int, int] | None) -> tuple[Path, EvaluationData, KitSettings] | None:
    """Return where the kit of a board is written, of what, and how; None if nobody wants one.

    Raises:
        InputError: if it cannot be written.
    """
    if args.data is None:
        if args.kit is not None:
            raise InputError(f"--kit {args.kit}: a kit needs --target and --data")
        return None
    if args.target is None:
        raise InputError(f"--data {args.data}: is for the kit of a board, which --target names")
    place = args.kit or args.out.with_name(f"{args.out.resolve().name}_kit")
    check_kit_place(place, option="--kit")
    data, settings = (
        EvaluationData(source=args.data, split=args.split),
        KitSettings(target=args.target, samples=args.samples),
    )
    open_table(data, open_network(args.checkpoint, size=size)[1])  # it may be missing, and an export takes long
    return place, data, settings


def _read(parser: Parser, argv: list[str]) -> Namespace:
    """Read the options. A board's settings become the defaults of those that are not on the command line."""
    args = parser.read(argv)
    if args.target is None:
        return args
    usual = settings_for(args.target)
    general = {name: getattr(usual, name) for name in ("batch_size", "form", "longest_kernel")}
    parser.set_defaults({**general, "opset": usual.onnx.opset})
    return parser.read(argv)


def _settings(args: Namespace) -> ExportSettings:
    general = {field.name: args[field.name] for field in fields(ExportSettings) if field.name not in _SPELLED_OUT}
    return ExportSettings(
        engines=parse_names(args.engines),
        precision=cast("tuple[Precision, ...]", parse_names(args.precision)),
        onnx=OnnxSettings(**{field.name: args[field.name] for field in fields(OnnxSettings)}),
        **general,
    )


def show_inspection(inspection: Inspection, target: str | None) -> None:
    """Print the operators of a graph, and what a board does not support.

    Raises:
        InputError: if the board does not support everything.
    """
    board = None if target is None else find_target(target)
    columns = ("operator", "nodes", "largest kernel", "dimensions", "types", *(() if target is None else (target,)))
    rows = [
        (
            use.operator,
            str(use.count),
            " x ".join(map(str, use.kernel)) or "none",
            str(use.rank),
            ", ".join(use.types),
            *(() if board is None else (place_of(use.operator, board),)),
        )
        for use in inspection.operators
    ]
    show(f"operators of {inspection.spec.backbone}", columns, rows)
    if board is None:
        return
    for line in (f"{target}: {board.title}", f"source: {board.source}", f"not known: {board.unknown}"):
        tell(line)
    for violation in inspection.violations:
        tell(f"{target}: {violation}")
    if inspection.violations:
        raise InputError(f"target={target}: it does not support the network: the lines above say why")


def show_bundle(contract: Contract, folder: Path) -> None:
    """Print what a bundle contains, and how its artefacts passed their checks."""
    rows = [
        ("model", contract.spec.backbone),
        ("parameters", format_count(contract.params)),
        ("MAdds", format_count(contract.madds)),
    ]
    for artefact in contract.artefacts:
        megabytes = (folder / artefact.main_file).stat().st_size / 1e6
        rows += [
            ("artefact", f"{artefact.name} ({artefact.format}, {artefact.precision})"),
            ("input", " x ".join(str(side or "any") for side in artefact.input.shape)),
            ("file", f"{artefact.main_file}, {megabytes:.2f} MB"),
        ]
        if artefact.options:
            rows.append(("options", ", ".join(f"{name}={value}" for name, value in artefact.options.items())))
        for check in artefact.checks:
            rows += _check_rows(check, artefact)
    show(f"bundle {folder}", ("property", "value"), rows)


def _check_rows(check: Check, artefact: Artefact) -> list[tuple[str, str]]:
    """Return the result of a check. Figures that the check does not have are left out."""
    text = describe_check(check, artefact)
    name = f"comparison with {text.compared_with}, {text.engine}"
    difference = f", difference {text.difference}" if text.difference else ""
    accepted = f", accepted {text.accepted}" if text.accepted else ""
    cosine = f", cosine {text.cosine}" if text.cosine else ""
    same = f", same answers {text.agreement}" if text.agreement else ""
    rows = [(name, f"{text.result}{difference}{accepted}{cosine}{same}")]
    rows += [("main score", f"{text.scores}, {check.figures['images']:.0f} other pictures")] if text.scores else []
    rows += [("speed, 1 thread", text.speed)] if text.speed else []
    return [*rows, ("peak memory of one inference", text.memory)] if text.memory else rows
