"""`parckit info`: cost and stages of one model."""

import torch
from torch import nn

from parckit.cli.parsing import Size, parse_size, verb_parser
from parckit.cli.tables import count, show
from parckit.contract import ModelSpec, Preprocessing
from parckit.measure import cost
from parckit.models import create_model, preprocessing_of


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("info", description="Parameters, multiply-adds and stages of a model.")
    parser.add_argument("model", type=str, help="one of `parckit list`, or any of timm's")
    parser.add_argument("--size", type=Size, default=None, help="HEIGHTxWIDTH; by default the model's own")
    parser.add_argument("--num_classes", type=int, default=1000, help="classes")
    args = parser.read(argv)
    model = shadow(args.model, num_classes=args.num_classes)
    size = preprocessing_of(model).size if args.size is None else parse_size(args.size)
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
    rows.append(("whole model", "", "", f"{size[0]}x{size[1]}", count(paper.params), count(paper.madds)))
    show(args.model, ("stage", "channels", "stride", "map", "parameters", "MAdds"), rows)


def shadow(name: str, *, num_classes: int = 1000) -> nn.Module:
    """Build a model without data, quickly, to be counted.

    Raises:
        InputError: if there is no such model.
    """
    labels = tuple(map(str, range(num_classes)))
    with torch.device("meta"):
        return create_model(ModelSpec(model=name, labels=labels, preprocessing=Preprocessing(size=(1, 1))))
