"""`parckit erf`: effective receptive fields side by side."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
from jsonargparse.typing import PositiveInt
from numpy.typing import NDArray
from PIL import Image

from parckit.cli.models import OpenedModel, open_model
from parckit.cli.progress import track
from parckit.cli.tables import show
from parckit.contract import InputError, Preprocessing
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
from parckit.options import Seed, parse_size, verb_parser
from parckit.processing import list_images, load_image, preprocess
from parckit.report.figures import picture_kind, save_figure
from parckit.report.heatmaps import receptive_fields

_NOISE = "noise"

_SHARES = (0.3, 0.5, 0.99)
"""RepLKNet's: the core, the half, and all but a trace."""

_SETTLING = 16
"""Noise images that give a fresh model's batch norms their statistics: ParC-Net's gates see one value an image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class _Row:
    model: str
    weights: str
    windows: tuple[Window, ...]


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("erf", description="Effective receptive fields: what the centre of the last map sees.")
    parser.add_argument(
        "models", type=str, nargs="+", help="names of `parckit list` or timm's (random weights), or files"
    )
    parser.add_argument("--images", type=str, default=_NOISE, help="a folder of pictures, however deep, or 'noise'")
    parser.add_argument("--out", type=Path, default=Path("erf.png"), help="the picture, .png or .svg")
    parser.add_argument("--size", type=str, default="224", help="HEIGHTxWIDTH of the images, pixels")
    parser.add_argument("--count", type=PositiveInt, default=100, help="images, at most")
    parser.add_argument("--seed", type=Seed, default=0, help="of random weights, noise and the choice of images")
    parser.add_argument(
        "--record",
        type=Path | None,
        default=None,
        help="also write the numbers to this JSON file",
    )
    args = parser.read(argv)
    size = parse_size(args.size)
    picture_kind(args.out)
    paths = None if args.images == _NOISE else _choose(Path(args.images), count=args.count, seed=args.seed)
    opened = [open_model(name, seed=args.seed, size=size) for name in dict.fromkeys(args.models)]
    for one in opened:
        check_input(one.model, one.spec)
    fields = {one.name: _look(one, paths, count=args.count, seed=args.seed) for one in opened}
    rows = [_row(one, fields[one.name].contribution) for one in opened]
    images = fields[opened[0].name].images
    show(
        f"effective receptive field by smallest squares: {args.images}, {images} images, {size[0]}x{size[1]}",
        ("model", *(f"{share:.0%} within" for share in _SHARES), "weights"),
        [(row.model, *(f"{w.height}x{w.width} ({w.area:.1%})" for w in row.windows), row.weights) for row in rows],
    )
    if args.record is not None:
        values = {"source": args.images, "images": images, "size": size, "models": [asdict(row) for row in rows]}
        write_record(args.record, "erf", values, seed=args.seed, threads=torch.get_num_threads())
    save_figure(receptive_fields({name: field.contribution for name, field in fields.items()}), args.out)
    print(f"picture: {args.out}")


def _choose(folder: Path, *, count: int, seed: int) -> list[Path]:
    paths = list_images(folder)
    chosen = np.random.default_rng(seed).permutation(len(paths))[:count]
    return [paths[index] for index in sorted(chosen)]


def _look(one: OpenedModel, paths: list[Path] | None, *, count: int, seed: int) -> ReceptiveField:
    # Noise fills the input as it is: resizing would smooth it.
    exact = replace(one.spec.preprocessing, crop_pct=1.0)
    if one.fresh:
        noise = _noise(exact.size, count=_SETTLING, seed=seed)
        recalibrate_norms(one.model, torch.cat([_input(picture, exact) for picture in noise]))
    if paths is None:
        total, preprocessing, pictures = count, exact, _noise(exact.size, count=count, seed=seed)
    else:
        total, preprocessing, pictures = len(paths), one.spec.preprocessing, map(load_image, paths)
    inputs = (_input(picture, preprocessing) for picture in pictures)
    try:
        return receptive_field(last_map(one.model), track(inputs, description=one.name, total=total))
    except InputError as error:
        raise InputError(f"{one.name}: {error}") from error


def _input(picture: Image.Image, preprocessing: Preprocessing) -> torch.Tensor:
    """Return a batch of one image, (1, 3, H, W)."""
    return torch.from_numpy(preprocess(picture, preprocessing)[0])[None]


def _noise(size: tuple[int, int], *, count: int, seed: int) -> Iterator[Image.Image]:
    generator = np.random.default_rng(seed)
    for _ in range(count):
        yield Image.fromarray(generator.integers(0, 256, (*size, 3), dtype=np.uint8))


def _row(one: OpenedModel, contribution: NDArray[np.float64]) -> _Row:
    windows = tuple(smallest_window(contribution, share=share) for share in _SHARES)
    return _Row(model=one.name, weights=one.weights, windows=windows)
