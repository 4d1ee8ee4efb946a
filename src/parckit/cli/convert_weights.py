"""`parckit convert-weights`: an official checkpoint becomes safetensors that every verb opens."""

import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import cast

import torch
from timm.data import ImageNetInfo
from torch import Tensor

from parckit.cli.parsing import verb_parser
from parckit.contract import InputError, ModelSpec, Preprocessing
from parckit.models import create_model, load_official_state_dict, preprocessing_of
from parckit.runtimes.torch import save_weights

_IMAGENET_CLASSES = 1000


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("convert-weights", description="Turn an official checkpoint into safetensors.")
    parser.add_argument("checkpoint", type=Path, help="the official .pt or .pth file")
    parser.add_argument("out", type=Path, help="the .safetensors file to write")
    parser.add_argument("--model", type=str, required=True, help="the model it is for, see `parckit list`")
    parser.add_argument("--num_classes", type=int, default=_IMAGENET_CLASSES, help="classes of its classifier")
    args = parser.read(argv)
    if args.out.suffix != ".safetensors":
        raise InputError(f"{args.out}: the file to write must end in .safetensors")
    spec = convert(args.checkpoint, args.out, model=args.model, num_classes=args.num_classes)
    print(f"{args.out}: {spec.model}, {len(spec.labels)} classes, input {spec.preprocessing.channel_order} / 255")


def convert(checkpoint: Path, out: Path, *, model: str, num_classes: int) -> ModelSpec:
    """Write an official checkpoint's weights with the spec that they need.

    Raises:
        InputError: if the file cannot be read safely, or does not fit the model.
    """
    labels = _labels(num_classes)
    network = create_model(ModelSpec(model=model, labels=labels, preprocessing=Preprocessing(size=(1, 1))))
    try:
        state_dict = torch.load(checkpoint, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(f"{checkpoint}: not a checkpoint that can be read with weights_only=True") from error
    if not isinstance(state_dict, Mapping):
        raise InputError(f"{checkpoint}: holds a {type(state_dict).__name__}, not a state dict")
    load_official_state_dict(network, cast("Mapping[str, Tensor]", state_dict))
    spec = ModelSpec(model=model, labels=labels, preprocessing=preprocessing_of(network))
    save_weights(network, spec, out)
    return spec


def _labels(num_classes: int) -> tuple[str, ...]:
    if num_classes == _IMAGENET_CLASSES:
        return tuple(ImageNetInfo().label_descriptions())
    return tuple(map(str, range(num_classes)))
