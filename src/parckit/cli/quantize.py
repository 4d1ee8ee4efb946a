"""`parckit quantize`: add int8 artefacts to a bundle."""

from dataclasses import fields
from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.export import show_bundle
from parckit.cli.progress import track
from parckit.contract import check_folder
from parckit.data import Split
from parckit.deploy.quantize import QuantizeSettings, quantize
from parckit.deploy.quantize.writers import WRITERS
from parckit.measure.evaluation_data import EvaluationData
from parckit.options import parse_names, verb_parser

_USUAL = QuantizeSettings()
_SPELLED_OUT: set[str | int] = {"engines"}


def main(argv: list[str]) -> None:
    """Run the verb."""
    description = "Quantize the network of a bundle to 8 bits, and add the int8 artefacts to the bundle."
    parser = verb_parser("quantize", description=description)
    parser.add_argument("bundle", type=Path, help="a bundle's folder with the artefact onnx-fp32")
    data = "calibration pictures: a source as eval takes it, or a folder of pictures without labels"
    parser.add_argument("--data", type=str, required=True, help=data)
    parser.add_argument("--split", type=Split, default="train", help="part of --data that calibrates")
    engines = f"engines, separated by commas: {', '.join(WRITERS)}"
    parser.add_argument("--engines", type=str, default=",".join(_USUAL.engines), help=engines)
    parser.add_class_arguments(QuantizeSettings, instantiate=False, skip=_SPELLED_OUT)
    args = parser.read(argv)
    settings = _settings(args)
    check_folder(args.bundle, option="BUNDLE")
    data = EvaluationData(source=args.data, split=args.split)
    show_bundle(quantize(args.bundle, data, settings=settings, progress=track), args.bundle)


def _settings(args: Namespace) -> QuantizeSettings:
    general = {field.name: args[field.name] for field in fields(QuantizeSettings) if field.name not in _SPELLED_OUT}
    return QuantizeSettings(engines=parse_names(args.engines), **general)
