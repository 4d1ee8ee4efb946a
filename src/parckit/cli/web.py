"""`parckit web`: a static page that runs a bundle's network in the browser."""

from pathlib import Path

from parckit.cli.pictures import find_pictures
from parckit.cli.tables import tell
from parckit.contract import check_place
from parckit.options import verb_parser
from parckit.serve.page_engine import PATIENCE, URL, cached_package, check_package, fetch_package
from parckit.serve.page_files import write_page


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("web", description="Write a page that runs a bundle's network in the browser.")
    parser.add_argument("bundle", type=Path, help="a bundle's folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the page")
    artefact = "name of the bundle's artefact; by default its first fp32 ONNX file without NMS or argmax inside"
    parser.add_argument("--artefact", type=str | None, default=None, help=artefact)
    examples = "pictures that the page offers: files, folders or patterns"
    parser.add_argument("--examples", type=str, nargs="+", default=[], help=examples)
    ort = f"{URL} as a file; by default it is fetched once, and kept in the cache"
    parser.add_argument("--ort", type=Path | None, default=None, help=ort)
    args = parser.read(argv)
    check_place(args.out, option="--out")
    contract = write_page(
        args.bundle,
        args.out,
        package=find_package(args.ort),
        artefact=args.artefact,
        examples=find_pictures(args.examples),
    )
    megabytes = sum(path.stat().st_size for path in args.out.rglob("*") if path.is_file()) / 1e6
    tell(f"page: {args.out} ({contract.spec.backbone}, {contract.artefacts[0].name}, {megabytes:.0f} MB)")
    tell(f"serve it: python3 -m http.server --directory {args.out} 8000")
    tell("then open http://localhost:8000")


def find_package(file: Path | None, *, patience: int = PATIENCE) -> Path:
    """Return the package of ONNX Runtime Web; fetch it if nobody has yet.

    Args:
        file: the package; None takes the one in the cache.
        patience: seconds without an answer after which a download ends.

    Raises:
        InputError: if it cannot be fetched, or is not the expected one.
    """
    if file is None and not cached_package().exists():
        tell(f"fetching {URL} (33 MB)")
        return fetch_package(patience=patience)
    package = file or cached_package()
    check_package(package, name=f"--ort {package}" if file else str(package))
    return package
