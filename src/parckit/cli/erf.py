"""`parckit erf`: effective receptive fields of models, side by side."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jsonargparse import Namespace
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray
from PIL import Image

from parckit.cli.models import OpenedModel, open_model
from parckit.cli.progress import track
from parckit.cli.tables import show, tell
from parckit.contract import InputError, Preprocessing, check_target
from parckit.measure.receptive_field import (
    ReceptiveField,
    Window,
    last_map,
    recalibrate_norms,
    receptive_field,
    smallest_window,
)
from parckit.measure.records import write_record
from parckit.networks import check_input
from parckit.options import Parser, Seed, parse_size, verb_parser
from parckit.processing import list_images, load_image, preprocess
from parckit.report.figures import picture_kind, save_figure
from parckit.report.heatmaps import receptive_fields

_NOISE = "noise"

_SHARES = (0.3, 0.5, 0.99)
"""Shares of the total contribution. For every share the smallest square that holds it is shown, as in the paper of
RepLKNet (arXiv:2203.06717)."""

_SETTLING = 16
"""Number of noise images that set the statistics of batch norms in a model with random weights. The batch norms in
ParC-Net's gates see only one value per image and channel, so one image would not be enough."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    model: str
    weights: str
    windows: tuple[Window, ...]


def main(argv: list[str]) -> None:
    """Run the verb."""
    args = _parser().read(argv)
    # Find mistakes before anything is computed.
    size = parse_size(args.size)
    picture_kind(args.out)
    check_target(args.out, option="--out")
    if args.record is not None:
        check_target(args.record, option="--record")
    paths = None if args.images == _NOISE else _choose(Path(args.images), count=args.count, seed=args.seed)
    models = [open_model(name, seed=args.seed, size=size) for name in dict.fromkeys(args.models)]
    for opened in models:
        check_input(opened.model, opened.spec)
    # Measure.
    fields = {opened.name: _measure(opened, paths, count=args.count, seed=args.seed) for opened in models}
    rows = [_row(opened, fields[opened.name].contribution) for opened in models]
    _tell(args, rows, size=size, images=fields[models[0].name].images)
    save_figure(receptive_fields({name: field.contribution for name, field in fields.items()}), args.out)
    tell(f"picture: {args.out}")


def _parser() -> Parser:
    parser = verb_parser("erf", description="Effective receptive fields: what the centre of the last map sees.")
    models = "names from `parckit list` or timm (random weights), or files"
    parser.add_argument("models", type=str, nargs="+", help=models)
    images = "a folder of pictures, with its subfolders, or 'noise'"
    parser.add_argument("--images", type=str, default=_NOISE, help=images)
    parser.add_argument("--out", type=Path, default=Path("erf.png"), help="the picture, .png or .svg")
    parser.add_argument("--size", type=str, default="224", help="HEIGHTxWIDTH of the images, pixels")
    parser.add_argument("--count", type=PositiveInt, default=100, help="most images to use")
    seed = "seed of random weights, noise and the choice of images"
    parser.add_argument("--seed", type=Seed, default=0, help=seed)
    record = "also write the numbers to this JSON file"
    parser.add_argument("--record", type=Path | None, default=None, help=record)
    return parser


def _tell(args: Namespace, rows: list[_Row], *, size: tuple[int, int], images: int) -> None:
    """Print the numbers, and write the record if the options name one."""
    show(
        f"effective receptive field by smallest squares: {args.images}, {images} images, {size[0]}x{size[1]}",
        ("model", *(f"{share:.0%} within" for share in _SHARES), "weights"),
        [(row.model, *(f"{w.height}x{w.width} ({w.area:.1%})" for w in row.windows), row.weights) for row in rows],
    )
    if args.record is not None:
        values = {"source": args.images, "images": images, "size": size, "models": [asdict(row) for row in rows]}
        write_record(args.record, "erf", values, seed=args.seed, threads=torch.get_num_threads())


def _choose(folder: Path, *, count: int, seed: int) -> list[Path]:
    """Return at most `count` pictures of a folder, chosen at random, in the order of their names."""
    paths = list_images(folder)
    indices = np.random.default_rng(seed).permutation(len(paths))[:count]
    return [paths[index] for index in sorted(indices)]


def _measure(opened: OpenedModel, paths: list[Path] | None, *, count: int, seed: int) -> ReceptiveField:
    """Measure a model's receptive field on pictures, or on noise if there are no paths."""
    # Noise already has the size of the input. Resizing would smooth it, and crop_pct below 1 would resize it.
    exact = replace(opened.spec.preprocessing, crop_pct=1.0)
    if opened.fresh:
        noise = _noise(exact.size, count=_SETTLING, seed=seed)
        recalibrate_norms(opened.model, torch.cat([_input(picture, exact) for picture in noise]))
    if paths is None:
        total, preprocessing, pictures = count, exact, _noise(exact.size, count=count, seed=seed)
    else:
        total, preprocessing, pictures = len(paths), opened.spec.preprocessing, map(load_image, paths)
    inputs = (_input(picture, preprocessing) for picture in pictures)
    try:
        return receptive_field(last_map(opened.model), track(inputs, description=opened.name, total=total))
    except InputError as error:
        raise InputError(f"{opened.name}: {error}") from error


def _input(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Return a batch of one image, (1, 3, H, W)."""
    return torch.from_numpy(preprocess(picture, preprocessing)[0])[None]


def _noise(size: tuple[int, int], *, count: int, seed: int) -> Iterator[Image.Image]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))


def _row(opened: OpenedModel, contribution: NDArray[np.float64]) -> _Row:
    windows = tuple(smallest_window(contribution, share=share) for share in _SHARES)
    return _Row(model=opened.name, weights=opened.weights, windows=windows)
