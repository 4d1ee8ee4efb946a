"""`parckit info`: cost and stages of one model, and how ParC would change them."""

from collections.abc import Sequence

from jsonargparse.typing import NonNegativeInt
from torch import nn

from parckit.cli.tables import show
from parckit.contract import InputError, NetworkSpec
from parckit.measure import cost
from parckit.models import Parcified, build_on_meta, parcify, preprocessing_of
from parckit.models.parcifying import PositionEmbeddings
from parckit.networks import check_input
from parckit.options import ClassCount, parse_size, verb_parser


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("info", description="Parameters, multiply-adds and stages of a model.")
    parser.add_argument("model", type=str, help="one of `parckit list`, or any of timm's")
    parser.add_argument("--size", type=str | None, default=None, help="HEIGHTxWIDTH; by default the model's size")
    parser.add_argument("--num_classes", type=ClassCount, default=1000, help="number of classes")
    parser.add_argument("--parcify", action="store_true", help="also show what changes if ParC replaces convolutions")
    parser.add_argument(
        "--stages",
        type=list[NonNegativeInt] | None,
        default=None,
        help="with --parcify: how many convolutions to replace at the end of each stage, e.g. [0,0,3,1]",
    )
    parser.add_argument(
        "--position_embedding",
        type=PositionEmbeddings | None,
        default=None,
        help="with --parcify: which ParC operators of a stage have position embeddings; by default all of them",
    )
    args = parser.read(argv)
    for option in ("stages", "position_embedding"):
        if args[option] is not None and not args.parcify:
            raise InputError(f"--{option} {args[option]}: needs --parcify")
    model = build_on_meta(args.model, num_classes=args.num_classes)
    preprocessing = preprocessing_of(model, size=None if args.size is None else parse_size(args.size))
    size = preprocessing.size
    check_input(model, NetworkSpec(backbone=args.model, labels=(), preprocessing=preprocessing))
    where = args.position_embedding or "every"
    result = _parcified(model, size=size, stages=args.stages, position_embedding=where) if args.parcify else None
    _show_stages(args.model, model, size=size)
    if result is not None:
        _show_parcified(args.model, model, result)


def _show_stages(name: str, model: nn.Module, *, size: tuple[int, int]) -> None:
    total = cost.count(model, size=size)
    rows = [
        (
            stage.module,
            str(stage.channels),
            str(stage.reduction),
            f"{stage.height}x{stage.width}",
            cost.format_count(stage.params),
            cost.format_count(stage.madds),
        )
        for stage in total.stages
    ]
    rest_params = total.params - sum(stage.params for stage in total.stages)
    rest_madds = total.madds - sum(stage.madds for stage in total.stages)
    rows.append(("the rest", "", "", "", cost.format_count(rest_params), cost.format_count(rest_madds)))
    rows.append(
        ("whole model", "", "", f"{size[0]}x{size[1]}", cost.format_count(total.params), cost.format_count(total.madds))
    )
    show(name, ("stage", "channels", "stride", "map", "parameters", "MAdds"), rows)


def _parcified(
    model: nn.Module, *, size: tuple[int, int], stages: Sequence[int] | None, position_embedding: PositionEmbeddings
) -> Parcified[nn.Module]:
    by_stage = None if stages is None else {stage: number for stage, number in enumerate(stages) if number}
    try:
        return parcify(model, stages=by_stage, size=size, position_embedding=position_embedding)
    except InputError as error:
        option = "" if stages is None else f" --stages {stages}"
        raise InputError(f"--parcify{option}: {error}") from error


def _show_parcified(name: str, model: nn.Module, result: Parcified[nn.Module]) -> None:
    size = result.report.size
    before, after = cost.count(model, size=size), cost.count(result.model, size=size)
    rows = [
        (
            replacement.name,
            str(replacement.stage),
            f"{replacement.conv} -> {replacement.length[0]}x{replacement.length[1]}",
            _thousands(replacement.params_before, replacement.params_after),
            _millions(replacement.madds_before, replacement.madds_after),
        )
        for replacement in result.report.replacements
    ]
    totals = (_thousands(before.params, after.params), _millions(before.madds, after.madds))
    rows.append(("whole model", "", "", *totals))
    columns = ("convolution", "stage", "becomes ParC", "parameters (k)", "MAdds (M)")
    show(f"{name} with ParC", columns, rows)


def _thousands(before: int, after: int) -> str:
    return f"{before / 1e3:,.1f} -> {after / 1e3:,.1f}"


def _millions(before: int, after: int) -> str:
    return f"{before / 1e6:,.2f} -> {after / 1e6:,.2f}"
