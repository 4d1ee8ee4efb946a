"""`parckit cam`: Grad-CAM, which shows the parts of a picture that support a class."""

from pathlib import Path

import numpy as np
import torch

from parckit.cli.models import open_model
from parckit.cli.tables import show, tell
from parckit.contract import InputError, check_target
from parckit.measure.cam import class_activation, last_layer
from parckit.networks import check_input, head_of
from parckit.options import Seed, parse_size, verb_parser
from parckit.processing import fit, load_image, make_decoder, preprocess
from parckit.report.figures import picture_kind, save_figure
from parckit.report.heatmaps import activation_map

_TOP = 3
"""Number of classes that are listed below the picture."""


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("cam", description="Grad-CAM: the parts of a picture that support a class.")
    parser.add_argument("model", type=str, help="a .ckpt or .safetensors file, or a model's name (random weights)")
    parser.add_argument("image", type=Path, help="a picture file")
    parser.add_argument("--out", type=Path, default=Path("cam.png"), help="the result, .png or .svg")
    target = "label or index of the class; by default the predicted class"
    parser.add_argument("--target", type=str | None, default=None, help=target)
    parser.add_argument("--layer", type=str | None, default=None, help="a module's name; by default the last stage")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the model's size")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of random weights")
    args = parser.read(argv)
    _check_out(args.out, picture=args.image)
    picture = load_image(args.image)
    # Run the network.
    opened = open_model(args.model, seed=args.seed, size=None if args.size is None else parse_size(args.size))
    check_input(opened.model, opened.spec)
    labels, preprocessing = opened.spec.labels, opened.spec.preprocessing
    layer = args.layer or last_layer(opened.model)
    activation = class_activation(
        opened.model,
        torch.from_numpy(preprocess(picture, preprocessing)[0]),
        layer=layer,
        target=None if args.target is None else _find(args.target, labels),
    )
    decoder = make_decoder(head_of(opened.spec).decoder(opened.spec), opened.spec, overrides={"top": _TOP})
    (answer,) = decoder([activation.logits[None]], [])
    rows = answer.rows()
    # Print the answer and draw the picture.
    show(f"{args.image}: {args.model} ({opened.weights})", answer.columns, rows)
    figure = activation_map(
        np.asarray(fit(picture, preprocessing)[0]),
        activation.strength,
        predictions=[f"{percent} % {label}" for label, percent, *_ in rows],
        about=[f"supports the class {labels[activation.target]}", f"layer {layer}"],
    )
    save_figure(figure, args.out)
    tell(f"picture: {args.out}")


def _check_out(out: Path, *, picture: Path) -> None:
    """Find mistakes in the path of the result before the network runs."""
    picture_kind(out)
    if out.resolve() == picture.resolve():
        raise InputError(f"--out {out}: is the picture itself; name another file")
    check_target(out, option="--out")


def _find(target: str, labels: tuple[str, ...]) -> int:
    """Return the index of a class. `target` is its label, or the index itself."""
    if target in labels:
        return labels.index(target)
    if target.isdecimal() and int(target) < len(labels):
        return int(target)
    some = ", ".join(labels[:5]) + (", ..." if len(labels) > 5 else "")
    raise InputError(f"--target {target}: must be one of the labels ({some}) or an index below {len(labels)}")
