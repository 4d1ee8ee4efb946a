"""`parckit export`: from a checkpoint to a verified ONNX bundle."""

from pathlib import Path

from parckit.cli.parsing import parse_size, verb_parser
from parckit.cli.tables import count, show
from parckit.contract import MODEL_FILE, Contract
from parckit.deploy import export_bundle
from parckit.layers import Form
from parckit.models import check_input
from parckit.runtimes.torch import open_checkpoint


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("export", description="Fuse a checkpoint and write a verified ONNX bundle.")
    parser.add_argument("checkpoint", type=Path, help="a .ckpt or .safetensors file, or shipped weights' name")
    parser.add_argument("--out", type=Path, required=True, help="folder of the bundle")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the checkpoint's")
    parser.add_argument("--opset", type=int, default=18, help="ONNX operator set")
    parser.add_argument("--ir_version", type=int | None, default=None, help="ONNX IR; by default the opset's lowest")
    parser.add_argument("--batch_size", type=int, default=1, help="images that the graph takes at once")
    parser.add_argument("--form", type=Form, default="auto", help="of convolutions along an axis; auto: by timings")
    args = parser.read(argv)
    model, spec = open_checkpoint(args.checkpoint)
    if args.size is not None:
        spec = spec.with_size(parse_size(args.size))
    check_input(model, spec)
    contract = export_bundle(
        model,
        spec,
        out=args.out,
        opset=args.opset,
        ir_version=args.ir_version,
        batch_size=args.batch_size,
        form=args.form,
    )
    show_bundle(contract, args.out)


def show_bundle(contract: Contract, folder: Path) -> None:
    """Print what a bundle promises."""
    parity = contract.parity
    rows = [
        ("model", contract.spec.model),
        ("input", " x ".join(map(str, contract.input.shape))),
        ("opset, IR", f"{contract.opset}, {contract.ir_version}"),
        ("file", f"{(folder / MODEL_FILE).stat().st_size / 1e6:.2f} MB"),
        ("parameters", count(contract.params)),
        ("MAdds", count(contract.madds)),
        (f"parity with {parity.runtime}", f"{parity.max_abs:.2e} (accepted {parity.tolerance:.2e})"),
        ("peak memory of one inference", f"{contract.peak_memory_bytes / 1e6:.0f} MB"),
    ]
    show(f"bundle {folder}", ("property", "value"), rows)
