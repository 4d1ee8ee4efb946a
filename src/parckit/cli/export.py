"""`parckit export`: from a checkpoint to a verified ONNX bundle."""

from dataclasses import fields
from pathlib import Path

from parckit.cli.tables import show
from parckit.contract import Contract
from parckit.deploy import ExportSettings, export
from parckit.measure.cost import format_count
from parckit.options import parse_size, verb_parser


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", description="Fuse a checkpoint and write a verified ONNX bundle.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt or .safetensors file, or shipped weights' name")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the checkpoint's")
    parser.add_class_arguments(ExportSettings, instantiate=False)
    args = parser.read(argv)
    contract = export(
        args.checkpoint,
        args.out,
        size=None if args.size is None else parse_size(args.size),
        settings=ExportSettings(**{field.name: args[field.name] for field in fields(ExportSettings)}),
    )
    show_bundle(contract, args.out)


def show_bundle(contract: Contract, folder: Path) -> None:
    """Print what a bundle promises."""
    rows = [
        ("model", contract.spec.backbone),
        ("parameters", format_count(contract.params)),
        ("MAdds", format_count(contract.madds)),
    ]
    for artefact in contract.artefacts:
        file = folder / artefact.main_file
        rows += [
            ("artefact", f"{artefact.name} ({artefact.format}, {artefact.precision})"),
            ("input", " x ".join(str(side or "any") for side in artefact.input.shape)),
            ("opset, IR", f"{artefact.options['opset']}, {artefact.options['ir_version']}"),
            ("file", f"{file.relative_to(folder)}, {file.stat().st_size / 1e6:.2f} MB"),
        ]
        for check in artefact.checks:
            figures = check.figures
            accepted = f"accepted {figures['tolerance']:.2e}"
            rows += [
                (f"parity with {check.version}", f"{figures['max_abs']:.2e} ({accepted})"),
                ("peak memory of one inference", f"{figures['peak_memory_bytes'] / 1e6:.0f} MB"),
            ]
    show(f"bundle {folder}", ("property", "value"), rows)
