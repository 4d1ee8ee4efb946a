"""`parckit convert-weights`: turn an official checkpoint into a safetensors file that every verb opens."""

from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from jsonargparse.typing import PositiveInt
from timm.data import ImageNetInfo
from torch import Tensor

from parckit.cli.tables import tell
from parckit.contract import InputError, NetworkSpec, check_target
from parckit.data.shardlist import parse_labels
from parckit.models import build_backbone, load_official_state_dict, preprocessing_of
from parckit.networks import damage_named, save_weights
from parckit.options import verb_parser

_IMAGENET_CLASSES = 1000


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("convert-weights", description="Turn an official checkpoint into safetensors.")
    parser.add_argument("checkpoint", type=Path, help="the official .pt or .pth file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--model", type=str, required=True, help="the model of the checkpoint, see `parckit list`")
    parser.add_argument("--num_classes", type=PositiveInt, default=_IMAGENET_CLASSES, help="number of classes")
    labels = "text file with one class name per line; by default ImageNet's synsets for 1000 classes, else numbers"
    parser.add_argument("--labels", type=Path | None, default=None, help=labels)
    args = parser.read(argv)
    if args.out.suffix != ".safetensors":
        raise InputError(f"{args.out}: the file to write must end in .safetensors")
    check_target(args.out, option="out")
    spec = convert(args.checkpoint, args.out, model=args.model, num_classes=args.num_classes, labels=args.labels)
    tell(f"{args.out}: {spec.backbone}, {len(spec.labels)} classes, input {spec.preprocessing.channel_order} / 255")


def convert(checkpoint: Path, out: Path, *, model: str, num_classes: int, labels: Path | None = None) -> NetworkSpec:
    """Write an official checkpoint's weights as safetensors, with the spec that describes the network.

    Raises:
        InputError: if the file cannot be read safely, or does not fit the model.
    """
    names = _read_labels(labels, num_classes) if labels else _labels(num_classes)
    network = build_backbone(model, {}, num_classes=len(names))
    with damage_named(checkpoint):
        state_dict = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(state_dict, Mapping):
        raise InputError(f"{checkpoint}: holds a {type(state_dict).__name__}, not a state dict")
    load_official_state_dict(network, cast("Mapping[str, Tensor]", state_dict))
    spec = NetworkSpec(backbone=model, labels=names, preprocessing=preprocessing_of(network))
    save_weights(network, spec, out)
    return spec


def _read_labels(path: Path, num_classes: int) -> tuple[str, ...]:
    try:
        names = parse_labels(path.read_text(encoding="utf-8-sig"), name=f"--labels {path}")
    except UnicodeDecodeError as error:
        raise InputError(f"--labels {path}: cannot be read as UTF-8 text ({error})") from error
    if len(names) != num_classes:
        raise InputError(f"--labels {path}: {len(names)} names for {num_classes} classes")
    return names


def _labels(num_classes: int) -> tuple[str, ...]:
    if num_classes == _IMAGENET_CLASSES:
        # Synsets differ for all classes, and ImageNet's folders have these names.
        return tuple(ImageNetInfo().label_names())
    return tuple(map(str, range(num_classes)))
