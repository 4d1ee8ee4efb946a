"""`parckit convert-weights`: turn an official or a timm checkpoint into a safetensors file that every verb opens."""

from argparse import Namespace
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import cast

import torch
from safetensors.torch import load_file
from timm.data import ImageNetInfo
from torch import nn

from parckit.cli.tables import tell
from parckit.contract import InputError, NetworkSpec, Preprocessing, check_target, read_class_names, to_plain
from parckit.models import build_backbone, load_any_state_dict, preprocessing_of, weights_in
from parckit.networks import (
    OFFICIAL_HEADS,
    backbone_of,
    build_network,
    damage_named,
    load_official_network,
    save_weights,
)
from parckit.options import ClassCount, parse_size, verb_parser

_IMAGENET_CLASSES = 1000


@dataclass(frozen=True, kw_only=True, slots=True)
class Origin:
    """What a file of weights does not say about its network.

    Attributes:
        model: name of the model in timm's registry.
        kwargs: further keywords of the model.
        head: name of the head, such as `ssd` and `deeplabv3`, if the weights are official ones of a detector or
            segmenter over the model. None: a classifier.
        num_classes: number of classes; None: that of `labels`, or of the published weights, which is 1000 for a
            classifier.
        labels: text file with one class name per line, in the order of the outputs. None: ImageNet's synsets for 1000
            classes, else numbers.
        entry: name of the entry of the file that holds the weights; None: the usual names, raw weights before averages.
        size: (height, width) of the images, pixels; None: what the model's configuration says.
        mean: mean of every channel, of values between 0 and 1; None: as `size`.
        std: standard deviation of every channel; None: as `size`.
    """

    model: str
    kwargs: Mapping[str, object] = field(default_factory=dict[str, object])
    head: str | None = None
    num_classes: int | None = None
    labels: Path | None = None
    entry: str | None = None
    size: tuple[int, int] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("convert-weights", description="Turn an official or a timm checkpoint into safetensors.")
    parser.add_argument("checkpoint", type=Path, help="the .pt, .pth, .pth.tar or .safetensors file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--model", type=str, required=True, help="the model of the checkpoint, by its name in timm")
    kwargs = "further keywords of the model, as in a recipe's model.kwargs"
    parser.add_argument("--kwargs", type=dict[str, object] | None, default=None, help=kwargs)
    heads = f"head over the model, if it is a detector or a segmenter: {', '.join(OFFICIAL_HEADS)}"
    parser.add_argument("--head", type=str | None, default=None, help=heads)
    classes = (
        f"number of classes; by default that of --labels or of the published weights: {_IMAGENET_CLASSES} of a model"
    )
    parser.add_argument("--num_classes", type=ClassCount | None, default=None, help=classes)  # pyright: ignore[reportOperatorIssue]
    labels = "text file with one class name per line; by default ImageNet's synsets for 1000 classes, else numbers"
    parser.add_argument("--labels", type=Path | None, default=None, help=labels)
    entry = "entry of the file that holds the weights, such as state_dict_ema; by default raw weights before averages"
    parser.add_argument("--entry", type=str | None, default=None, help=entry)
    expected = "of the images that the weights expect; by default as timm's configuration of the model says"
    parser.add_argument("--size", type=str | None, default=None, help=f"HEIGHTxWIDTH {expected}")
    parser.add_argument("--mean", type=tuple[float, float, float] | None, default=None, help=f"mean {expected}")
    parser.add_argument("--std", type=tuple[float, float, float] | None, default=None, help=f"deviation {expected}")
    args = parser.read(argv)
    if args.out.suffix != ".safetensors":
        raise InputError(f"{args.out}: the file to write must end in .safetensors")
    check_target(args.out, option="out")
    origin = Origin(
        model=args.model,
        kwargs=args.kwargs or {},
        head=args.head,
        num_classes=args.num_classes,
        labels=args.labels,
        entry=args.entry,
        size=None if args.size is None else parse_size(args.size),
        mean=args.mean,
        std=args.std,
    )
    entry, spec = convert(args.checkpoint, args.out, origin)
    tell(_describe(args.out, spec, entry=entry))


def convert(checkpoint: Path, out: Path, origin: Origin) -> tuple[str, NetworkSpec]:
    """Write a checkpoint's weights as safetensors, with the spec that describes the network.

    Returns:
        The entry of the file that was taken, empty if it has none, and the spec.

    Raises:
        InputError: if the file cannot be read safely, or does not fit the model.
    """
    if origin.head is not None:
        return _convert_network(checkpoint, out, origin, head=origin.head)
    names = _class_names(origin)
    network = build_backbone(origin.model, origin.kwargs, num_classes=len(names))
    content = _read(checkpoint)
    try:
        entry = load_any_state_dict(network, content, entry=origin.entry)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    spec = NetworkSpec(
        backbone=origin.model,
        backbone_kwargs=to_plain(origin.kwargs),
        labels=names,
        preprocessing=_preprocessing(network, origin),
    )
    save_weights(network, spec, out)
    return entry, spec


def _convert_network(checkpoint: Path, out: Path, origin: Origin, *, head: str) -> tuple[str, NetworkSpec]:
    """Write the weights of an official detector or segmenter."""
    if head not in OFFICIAL_HEADS:
        raise InputError(f"--head {head}: official weights exist for {', '.join(OFFICIAL_HEADS)}")
    official = OFFICIAL_HEADS[head]
    spec = NetworkSpec(
        task=official.task,
        backbone=origin.model,
        backbone_kwargs=to_plain(origin.kwargs),
        head=head,
        labels=_class_names(origin, usual=official.num_classes),
        preprocessing=Preprocessing(size=origin.size or official.size),
    )
    network, content = build_network(spec), _read(checkpoint)
    try:
        entry, weights = weights_in(content, entry=origin.entry)
        load_official_network(network, spec, weights)
    except InputError as error:
        raise InputError(f"{checkpoint}: {error}") from error
    expected = _preprocessing(backbone_of(network, spec), origin)
    expected = replace(expected, size=spec.preprocessing.size, fit="stretch", crop_pct=1.0)
    spec = replace(spec, preprocessing=expected)
    save_weights(network, spec, out)
    return entry, spec


def _read(checkpoint: Path) -> Mapping[str, object]:
    with damage_named(checkpoint):
        if checkpoint.suffix == ".safetensors":
            return load_file(checkpoint)
        # timm's scripts save the options of the command line as a Namespace, which only holds values.
        with torch.serialization.safe_globals([Namespace]):
            content: object = torch.load(checkpoint, map_location="cpu", weights_only=True)
    if not isinstance(content, Mapping):
        raise InputError(f"{checkpoint}: holds a {type(content).__name__}, not a state dict")
    return cast("Mapping[str, object]", content)


def _preprocessing(network: nn.Module, origin: Origin) -> Preprocessing:
    configured = preprocessing_of(network, size=origin.size)
    stated = {name: value for name in ("mean", "std") if (value := getattr(origin, name)) is not None}
    return replace(configured, **stated)


def _class_names(origin: Origin, *, usual: int = _IMAGENET_CLASSES) -> tuple[str, ...]:
    if origin.labels is None:
        return _default_names(origin.num_classes or usual)
    try:
        names = read_class_names(origin.labels)
    except InputError as error:
        raise InputError(f"--labels {error}") from error
    if origin.num_classes not in (None, len(names)):
        raise InputError(f"--labels {origin.labels}: {len(names)} names for {origin.num_classes} classes")
    return names


def _default_names(num_classes: int) -> tuple[str, ...]:
    if num_classes == _IMAGENET_CLASSES:
        # Synsets differ for all classes, and ImageNet's folders have these names.
        return tuple(ImageNetInfo().label_names())
    return tuple(map(str, range(num_classes)))


def _describe(out: Path, spec: NetworkSpec, *, entry: str) -> str:
    height, width = spec.preprocessing.size
    expected = spec.preprocessing
    mean, std = (", ".join(f"{value:g}" for value in values) for values in (expected.mean, expected.std))
    taken = f" from {entry}" if entry else ""
    images = f"input {height}x{width} {expected.channel_order} / 255, mean {mean}, std {std}"
    name = spec.backbone if spec.task == "classify" else f"{spec.head}_{spec.backbone}"
    return f"{out}: {name}{taken}, {len(spec.labels)} classes, {images}"
