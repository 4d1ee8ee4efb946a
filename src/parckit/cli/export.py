"""`parckit export`: from a checkpoint to a verified ONNX bundle."""

from dataclasses import fields
from pathlib import Path

from parckit.cli.tables import show
from parckit.contract import Artefact, Check, Contract, check_place
from parckit.deploy import ExportSettings, export
from parckit.measure.cost import format_count
from parckit.options import parse_size, verb_parser
from parckit.report.checks import describe_check


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", description="Fuse a checkpoint and write a verified ONNX bundle.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt or .safetensors file, or shipped weights' name")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the checkpoint's")
    parser.add_class_arguments(ExportSettings, instantiate=False)
    thresholds = "several labels an image: least probability of every class, a record of eval or {CLASS: NUMBER}"
    parser.add_argument("--thresholds", type=Path | None, default=None, help=thresholds)
    args = parser.read(argv)
    check_place(args.out, option="--out")
    contract = export(
        args.checkpoint,
        args.out,
        size=None if args.size is None else parse_size(args.size),
        settings=ExportSettings(**{field.name: args[field.name] for field in fields(ExportSettings)}),
        thresholds=args.thresholds,
    )
    show_bundle(contract, args.out)


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
    name = f"comparison with {text.compared_with}, {check.version or check.engine}"
    difference = f", difference {text.difference}" if text.difference else ""
    accepted = f", accepted {text.accepted}" if text.accepted else ""
    rows = [(name, f"{text.result}{difference}{accepted}")]
    return [*rows, ("peak memory of one inference", text.memory)] if text.memory else rows
