"""`parckit quantize`: add int8 artefacts to a bundle, or find the nodes that break it in int8."""

from dataclasses import fields
from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.export import show_bundle
from parckit.cli.progress import track
from parckit.cli.tables import show, tell
from parckit.contract import Contract, InputError, check_target
from parckit.data import Split
from parckit.deploy.quantize import (
    NodeSensitivity,
    QuantizeSettings,
    find_sensitivity,
    quantize,
    read_scheme,
)
from parckit.deploy.quantize.scheme import SCHEME_FILE
from parckit.deploy.quantize.sensitivity import WITHOUT_EFFECT
from parckit.deploy.quantize.writers import WRITERS
from parckit.deploy.quantize.yardstick import Measure
from parckit.measure.evaluation_data import EvaluationData
from parckit.options import beside, parse_names, verb_parser
from parckit.report.figures import save_figure
from parckit.report.sensitivity_chart import NodeError, node_errors

_USUAL = QuantizeSettings()
_SPELLED_OUT: set[str | int] = {"engines"}
_MOST_ROWS = 30
"""Nodes that a table shows; the file has all."""


def main(argv: list[str]) -> None:
    """Run the verb."""
    description = "Quantize the network of a bundle to 8 bits, and add the int8 artefacts to the bundle."
    parser = verb_parser("quantize", description=description)
    parser.add_argument("bundle", type=Path, help="a bundle's folder with the artefact onnx-fp32")
    pictures = "calibration pictures: a source as eval takes it, or a folder of pictures without labels"
    parser.add_argument("--data", type=str, required=True, help=pictures)
    parser.add_argument("--split", type=Split, default="train", help="part of --data that calibrates")
    engines = f"engines, separated by commas: {', '.join(WRITERS)}"
    parser.add_argument("--engines", type=str, default=",".join(_USUAL.engines), help=engines)
    parser.add_class_arguments(QuantizeSettings, instantiate=False, skip=_SPELLED_OUT)
    evaluated = "for --max_drop: other pictures, on which the drop is measured"
    parser.add_argument("--eval_data", type=str | None, default=None, help=evaluated)
    parser.add_argument("--eval_split", type=Split, default="val", help="part of --eval_data that is used")
    nodes = "measure what every node costs, and add nothing to the bundle"
    parser.add_argument("--sensitivity", action="store_true", help=nodes)
    out = "JSON file of --sensitivity, which a later call continues; by default beside the bundle"
    parser.add_argument("--out", type=Path | None, default=None, help=out)
    args = parser.read(argv)
    parser.refuse_idle(args, _effects(args))
    settings = _settings(args)
    data = EvaluationData(source=args.data, split=args.split)
    if args.sensitivity:
        _show_sensitivity(args, data, settings)
        return
    evaluated = None if args.eval_data is None else EvaluationData(source=args.eval_data, split=args.eval_split)
    contract = quantize(args.bundle, data, eval_data=evaluated, settings=settings, progress=track)
    show_bundle(contract, args.bundle)
    _show_reasons(contract, args.bundle)


def _effects(args: Namespace) -> list[tuple[str, bool, str]]:
    """Return which options have an effect; see `Parser.refuse_idle`."""
    return [
        ("out", args.sensitivity, "without --sensitivity"),
        *((name, not args.sensitivity, "with --sensitivity") for name in (*WITHOUT_EFFECT, "eval_data", "eval_split")),
        ("eval_split", args.eval_data is not None, "without --eval_data"),
        ("raise_to", args.max_drop is not None, "without --max_drop"),
        ("percentile", args.calibrator == "percentile", f"with --calibrator {args.calibrator}"),
    ]


def _settings(args: Namespace) -> QuantizeSettings:
    general = {field.name: args[field.name] for field in fields(QuantizeSettings) if field.name not in _SPELLED_OUT}
    return QuantizeSettings(engines=parse_names(args.engines), **general)


def _show_reasons(contract: Contract, folder: Path) -> None:
    """Print which nodes of the int8 artefacts have not 8 bits, and why. LiteRT's quantizer says nothing of that."""
    kinds = {None: "float32", 16: "int16", 8: "int8"}
    for artefact in contract.artefacts:
        for file in (file for file in artefact.files if Path(file).name == SCHEME_FILE):
            scheme = read_scheme(folder / file)
            rows = [(name, kinds[scheme.bits.get(name)], reason) for name, reason in scheme.reasons.items()]
            if rows:
                show(f"{artefact.name}: nodes that do not have 8 bits", ("node", "has", "why"), rows)


def _show_sensitivity(args: Namespace, data: EvaluationData, settings: QuantizeSettings) -> None:
    """Measure, print and draw what every node costs."""
    file = beside(args.bundle, "_sensitivity.json") if args.out is None else args.out
    if file.suffix != ".json":
        raise InputError(f"--out {file}: must end in .json; the picture is written beside it")
    check_target(file, option="--out")
    result = find_sensitivity(args.bundle, data, file=file, settings=settings, progress=track)
    ranked = result.ranked
    rows = [("(all nodes)", "", *_cells(result.all_quantized), "", "")]
    rows += [_row(node) for node in ranked[:_MOST_ROWS]]
    columns = ("node", "operator", "SQNR alone", "answers alone", "score alone", "SQNR without", "answers without")
    few = f", the {_MOST_ROWS} worst of {len(ranked)} nodes" if len(ranked) > _MOST_ROWS else ""
    show(f"{args.bundle}: int8 on {result.images} pictures{few}", columns, rows)
    tell("alone: only this node in int8; without: all but this one. SQNR in dB, more is better; answers as in float32")
    picture = file.with_suffix(".png")
    errors = [NodeError(f"{node.node} ({node.operator})", node.alone.sqnr, node.without.sqnr) for node in ranked]
    save_figure(node_errors(errors, all_quantized=result.all_quantized.sqnr, title=str(args.bundle)), picture)
    tell(f"all nodes: {file}; picture: {picture}")


def _row(node: NodeSensitivity) -> tuple[str, ...]:
    return (node.node, node.operator, *_cells(node.alone), *_cells(node.without)[:2])


def _cells(measure: Measure) -> tuple[str, str, str]:
    answers = "-" if measure.agreement is None else f"{measure.agreement:.1%}"
    return f"{measure.sqnr:.1f}", answers, "-" if measure.score is None else f"{measure.score:.2f}"
