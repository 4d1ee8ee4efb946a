"""`parckit info`: cost and stages of one model."""

import torch
from jsonargparse.typing import PositiveInt
from torch import nn

from parckit.cli.parsing import parse_size, verb_parser
from parckit.cli.tables import count, show
from parckit.contract import ModelSpec, Preprocessing
from parckit.measure import cost
from parckit.models import build_model, check_input, preprocessing_of


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("info", description="Parameters, multiply-adds and stages of a model.")
    parser.add_argument("model", type=str, help="one of `parckit list`, or any of timm's")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the model's own")
    parser.add_argument("--num_classes", type=PositiveInt, default=1000, help="classes")
    args = parser.read(argv)
    model = shadow(args.model, num_classes=args.num_classes)
    preprocessing = preprocessing_of(model, size=None if args.size is None else parse_size(args.size))
    size = preprocessing.size
    check_input(model, ModelSpec(model=args.model, labels=(), preprocessing=preprocessing))
    paper = cost.count(model, size=size)
    rows = [
        (
            stage.module,
            str(stage.channels),
            str(stage.reduction),
            f"{stage.height}x{stage.width}",
            count(stage.params),
            count(stage.madds),
        )
        for stage in paper.stages
    ]
    rest_params = paper.params - sum(stage.params for stage in paper.stages)
    rest_madds = paper.madds - sum(stage.madds for stage in paper.stages)
    rows.append(("the rest", "", "", "", count(rest_params), count(rest_madds)))
    rows.append(("whole model", "", "", f"{size[0]}x{size[1]}", count(paper.params), count(paper.madds)))
    show(args.model, ("stage", "channels", "stride", "map", "parameters", "MAdds"), rows)


def shadow(name: str, *, num_classes: int = 1000) -> nn.Module:
    """Build a model without data, quickly, to be counted.

    Raises:
        InputError: if there is no such model.
    """
    labels = tuple(map(str, range(num_classes)))
    with torch.device("meta"):
        return build_model(ModelSpec(model=name, labels=labels, preprocessing=Preprocessing(size=(1, 1))))
