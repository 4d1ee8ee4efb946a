"""`parckit eval`: accuracy of a checkpoint or bundle."""

from functools import partial
from pathlib import Path

from parckit.cli.choice import add_choice, choice
from parckit.cli.progress import track
from parckit.cli.tables import show
from parckit.contract import check_target
from parckit.data import name_source
from parckit.measure.evaluation import Evaluation, EvaluationData, evaluate
from parckit.measure.records import write_record
from parckit.options import place_beside, verb_parser
from parckit.report.figures import picture_kind, save_figure
from parckit.report.recorded import record_values
from parckit.report.results import result_view, worst_rows

_MOST_ROWS = 20
"""Classes that a table shows: what a terminal has room for."""


def main(argv: list[str]) -> None:
    """Run the verb."""
    description = "How good a network is on labelled images: the numbers of its task, and of every class."
    parser = verb_parser("eval", description=description)
    parser.shorthands = {"--data": "--data.source"}
    parser.add_argument("model", type=Path, help="a bundle's folder, a checkpoint, or shipped weights' name")
    parser.add_class_arguments(EvaluationData, "data")
    add_choice(parser)
    parser.add_argument("--threads", type=int | None, default=None, help="threads of one inference")
    drawing = "picture of the results, such as a confusion matrix; by default beside the model"
    parser.add_argument("--picture", type=Path | None, default=None, help=drawing)
    record = "also write the numbers to this JSON file"
    parser.add_argument("--record", type=Path | None, default=None, help=record)
    args = parser.read(argv)
    if args.picture is not None:
        picture_kind(args.picture)
    picture, obstacle = place_beside(args.model, "_eval.png", wanted=args.picture, option="--picture")
    if args.record is not None:
        check_target(args.record, option="--record")
    evaluation = evaluate(
        args.model, args.data, threads=args.threads, track=partial(track, description="evaluating"), **choice(args)
    )
    drawn = str(picture) if obstacle is None else f"not drawn ({obstacle}); --picture FILE draws it elsewhere"
    source = name_source(args.data.source)
    show_evaluation(evaluation, title=f"{args.model} on {source}, {evaluation.served}", picture=drawn)
    if args.record is not None:
        values = record_values(evaluation, model=args.model)
        write_record(args.record, "eval", values, seed=None, threads=args.threads)
    if obstacle is None:
        drawn_first = result_view(evaluation.task).pictures[0]
        save_figure(drawn_first.draw(evaluation.score.tables, evaluation.labels), picture)


def show_evaluation(evaluation: Evaluation, *, title: str, picture: str) -> None:
    """Print a score; `picture` says where the picture is."""
    score, view = evaluation.score, result_view(evaluation.task)
    rows = [(f"{view.titles.get(name, name)} %", f"{value:.2f}") for name, value in score.scalars.items()]
    rows += [("images", str(score.images)), ("skipped", str(score.skipped)), ("left out", evaluation.left_out)]
    rows += [("artefact", evaluation.artefact), ("engine", evaluation.engine), (view.pictures[0].title, picture)]
    show(title, ("measure", "value"), rows)
    _show_classes(evaluation)


def _show_classes(evaluation: Evaluation) -> None:
    """Print the numbers of every class; of many classes, the worst."""
    view = result_view(evaluation.task)
    every = view.class_rows(evaluation.score.tables, evaluation.labels)
    is_long = len(every) > _MOST_ROWS
    rows = worst_rows(every, most=_MOST_ROWS) if is_long else every
    *_, last = view.class_rates.values()
    title = f"the {len(rows)} of {len(every)} classes with the lowest {last}" if is_long else "by class"
    title += " (--record has all)" if is_long else ""
    rates = (f"{rate} %" for rate in view.class_rates.values())
    columns = ("class", view.class_count[1], *rates, *view.class_values.values())
    show(
        title,
        columns,
        [
            (row.label, str(row.counted), *(_cell(rate, digits=1) for rate in row.rates), *map(_cell, row.values))
            for row in rows
        ],
    )


def _cell(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"
