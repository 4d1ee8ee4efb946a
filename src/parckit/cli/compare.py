"""`parckit compare`: accuracy, latency and size of networks side by side, and which of them are worth a choice."""

from functools import partial
from pathlib import Path
from typing import get_args

from parckit.cli.bench_tables import tell_conditions
from parckit.cli.choice import add_choice, add_engines, wanted_candidates
from parckit.cli.progress import track
from parckit.cli.tables import format_number, show, tell
from parckit.contract import IncompleteError, InputError, Task, check_target
from parckit.data import name_source
from parckit.measure.candidates import find_candidates
from parckit.measure.comparison import Compared, Comparison, compare
from parckit.measure.cost import format_count
from parckit.measure.environment import describe, usable_cores
from parckit.measure.evaluation import EvaluationData
from parckit.measure.ranking import not_separable
from parckit.measure.records import write_record
from parckit.measure.timings import Schedule
from parckit.options import Parser, Seed, Threads, beside, verb_parser
from parckit.report.figures import picture_kind, save_figure
from parckit.report.results import result_view
from parckit.report.scatter import pareto_scatter

_MEGA = 1e6


def main(argv: list[str]) -> None:
    """Run the verb."""
    args = _parser().read(argv)
    # Find mistakes before the work.
    if args.threads > usable_cores():
        raise InputError(f"--threads {args.threads}: this process may use {usable_cores()} cores")
    picture: Path = args.picture or beside(args.models[0], "_compare.png")
    record: Path = args.record or beside(args.models[0], "_compare.json")
    picture_kind(picture)
    check_target(picture, option="--picture")
    check_target(record, option="--record")
    schedule = Schedule(threads=(args.threads,), warmup=args.warmup, seconds=args.seconds, seed=args.seed)
    candidates = find_candidates(args.models, wanted_candidates(args))
    # Measure.
    scores = {task: next(iter(result_view(task).titles)) for task in get_args(Task)}
    comparison = compare(candidates, args.data, schedule, scores=scores, track=partial(track, description="evaluating"))
    for reason in comparison.failures.values():
        tell(f"not compared: {reason}")
    # Show.
    _show(comparison, title=f"on {name_source(args.data.source)}")
    task = next(iter(comparison.candidates.values())).evaluation.task
    title = result_view(task).titles[comparison.score]
    figure = pareto_scatter(comparison.image_times, comparison.scores, front=comparison.front, score=title)
    save_figure(figure, picture)
    values = {"data": name_source(args.data.source), **comparison.to_plain()}
    if comparison.failures:
        values["failures"] = comparison.failures
    write_record(record, "compare", values, seed=args.seed, threads=args.threads)
    tell(f"picture: {picture}")
    tell(f"record: {record}")
    if comparison.failures:
        raise IncompleteError(f"not compared: {', '.join(comparison.failures)}; the reasons stand above")


def _parser() -> Parser:
    description = "Accuracy, latency and size of networks side by side, and which of them no other one beats."
    parser = verb_parser("compare", description=description)
    parser.shorthands = {"--data": "--data.source"}
    models = "two or more bundles' folders, artefacts as BUNDLE/ARTEFACT, or checkpoints"
    parser.add_argument("models", type=Path, nargs="+", help=models)
    parser.add_class_arguments(EvaluationData, "data")
    add_choice(parser)
    add_engines(parser)
    parser.add_argument("--threads", type=Threads, default=1, help="threads of one inference")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of untimed runs before the measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of the measurement of each candidate")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of the order of the candidates in every round")
    picture = "the scatter, .png or .svg; by default NAME_compare.png beside the first model"
    parser.add_argument("--picture", type=Path | None, default=None, help=picture)
    record = "JSON file for the numbers; by default NAME_compare.json beside the first model"
    parser.add_argument("--record", type=Path | None, default=None, help=record)
    return parser


def _show(comparison: Comparison, *, title: str) -> None:
    machine, times = describe(), comparison.image_times
    task = next(iter(comparison.candidates.values())).evaluation.task
    titles = result_view(task).titles
    names = list(next(iter(comparison.candidates.values())).evaluation.score.scalars)[:2]
    # Names with their paths are long, so the table has numbers, the same as the picture.
    ordered = sorted(times, key=lambda key: times[key].median)
    numbers = {name: str(number) for number, name in enumerate(ordered, start=1)}
    for name, number in numbers.items():
        tell(f"candidate {number}: {name}, {comparison.candidates[name].benchmark.engine}")
    # Batches of different sizes can only be compared by the time for one image.
    timed, batch = ("median ms", "95 %", "p99 ms"), ()
    if any(entry.benchmark.timings[0].batch_size > 1 for entry in comparison.candidates.values()):
        timed, batch = ("ms/image", "95 %", "p99 ms/image"), ("batch",)
    scalars = (f"{titles.get(name, name)} %" for name in names)
    columns = ("no.", *scalars, *timed, *batch, "files MB", "parameters", "MAdds", "front")
    rows: list[tuple[str, ...]] = []
    for name, number in numbers.items():
        entry = comparison.candidates[name]
        scores = (f"{entry.evaluation.score.scalars[scalar]:.2f}" for scalar in names)
        batches = (str(entry.benchmark.timings[0].batch_size) for _ in batch)
        verdict = "on it" if name in comparison.front else "beaten"
        rows.append((number, *scores, *_times(entry), *batches, *_sizes(entry), verdict))
    images = next(iter(comparison.candidates.values())).evaluation.score.images
    show(f"{title}, {images} images; {machine.cpu}, {comparison.schedule.threads[0]} thread(s)", columns, rows)
    if doubtful := not_separable(times):
        pairs = ", ".join(f"{numbers[first]} and {numbers[second]}" for first, second in doubtful)
        tell(f"not separable in speed, because their intervals overlap: {pairs}")
    if margins := [entry.margin for entry in comparison.candidates.values() if entry.margin is not None]:
        margin = f"{max(margins):.2f} points"
        tell(f"chance moves top-1 of {images} images by up to {margin} (95 %); the front takes the numbers as they are")
    tell_conditions(comparison.conditions)


def _times(entry: Compared) -> tuple[str, str, str]:
    """Return the median time for one image, its interval and the 99th percentile, milliseconds."""
    time, timing = entry.image_time, entry.benchmark.timings[0]
    *_, p99 = timing.tails
    slowest = "-" if p99 is None else format_number(p99 / timing.batch_size)
    return format_number(time.median), f"{format_number(time.low)} to {format_number(time.high)}", slowest


def _sizes(entry: Compared) -> tuple[str, str, str]:
    """Return the size of the files, the parameters and the multiply-adds."""
    params, madds = ("-" if count is None else format_count(count) for count in (entry.params, entry.madds))
    return f"{entry.file_bytes / _MEGA:.2f}", params, madds
