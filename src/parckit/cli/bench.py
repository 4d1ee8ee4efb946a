"""`parckit bench`: latency and throughput of bundles and checkpoints, side by side."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from jsonargparse import Namespace

from parckit.cli.bench_tables import show_measurement
from parckit.cli.choice import add_choice, add_engines, wanted_candidates
from parckit.cli.tables import tell
from parckit.contract import IncompleteError, InputError
from parckit.measure.candidates import Candidate, find_candidates, find_possible, names_artefact
from parckit.measure.environment import usable_cores
from parckit.measure.records import write_record
from parckit.measure.speed import Measurement, match_baselines, measure_speed
from parckit.measure.stages import sample_picture
from parckit.measure.timings import Schedule
from parckit.options import Parser, Seed, parse_counts, place_beside, verb_parser
from parckit.processing import open_picture

_MOST_STREAMS = 64
"""Every stream holds a copy of the network; boards serve up to a few dozen cameras."""


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = _parser()
    args = parser.read(argv)
    parser.refuse_idle(args, [("board", args.board_log is not None, "without --board_log")])
    if args.board_log is not None:
        from parckit.cli.bench_board import record_board

        record_board(args)
        return
    schedule = _schedule(args)
    record, obstacle = place_beside(args.models[0], "_bench.json", wanted=args.record, option="--record")
    if args.image is not None:
        open_picture(args.image)  # a wrong file is told before the work
    candidates, failures = _find(args)
    others = _baselines(args)
    against = match_baselines(candidates, others)
    if others and not against:
        raise InputError(f"--against {args.against}: is the only candidate; name another one to compare it with")
    if args.profile:
        from parckit.cli.bench_profile import check_profile

        check_profile(candidates)
    everyone = tuple({candidate.name: candidate for candidate in (*candidates, *others)}.values())
    measurement = measure_speed(everyone, schedule, picture=args.image or sample_picture())
    for reason in measurement.failures.values():
        tell(f"not measured: {reason}")
    failures |= measurement.failures
    values = _show(measurement, against) | ({"failures": failures} if failures else {})
    if obstacle is not None:
        tell(f"no record: {record} cannot be written ({obstacle}); --record FILE writes it elsewhere")
    else:
        write_record(record, "bench", values, seed=schedule.seed, threads=max(schedule.threads))
        tell(f"record: {record}")
    if args.profile:
        from parckit.cli.bench_profile import profile_candidates

        measured = [candidate for candidate in candidates if candidate.name in measurement.candidates]
        failures |= profile_candidates(measured, schedule=schedule, bench_record=record)
    elif (former := record.with_name(f"{record.stem}_profile.png")).is_file():
        tell(f"{former} is the profile of an earlier run; --profile measures it again")
    if failures:
        raise IncompleteError(f"not measured: {', '.join(failures)}; the reasons stand above")


def _show(measurement: Measurement, against: Mapping[str, str]) -> dict[str, object]:
    """Print what was measured, and return what the record says of it."""
    against = {name: other for name, other in against.items() if {name, other} <= measurement.candidates.keys()}
    show_measurement(measurement, against=against)
    return measurement.to_plain(against)


def _find(args: Namespace) -> tuple[tuple[Candidate, ...], dict[str, str]]:
    """Return the candidates, and what gives none, with the reason, which is told.

    Raises:
        InputError: if there is no candidate.
    """
    candidates, failures = find_possible(args.models, wanted_candidates(args))
    for error in failures.values():
        if not candidates:
            raise error
        tell(f"not measured: {error}")
    return candidates, {name: str(error) for name, error in failures.items()}


def _baselines(args: Namespace) -> tuple[Candidate, ...]:
    """Return what the candidates are compared with.

    Raises:
        InputError: if there is nothing of that kind.
    """
    if args.against is None:
        if args.against_runtime is not None:
            raise InputError(
                f"--against_runtime {args.against_runtime}: --against is missing; both name what to compare with"
            )
        return ()
    wanted = wanted_candidates(args)
    if args.against_runtime is not None:
        wanted = replace(wanted, engines=(), runtime=args.against_runtime, runtime_option="against_runtime")
    # `--precision` and `--artefact` choose among the candidates; a baseline that is one artefact needs no choice.
    if names_artefact(args.against):
        wanted = replace(wanted, precision=None, artefact=None)
    return find_candidates([args.against], wanted)


def _parser() -> Parser:
    description = "Latency percentiles and throughput on this machine, of several candidates in turns."
    parser = verb_parser("bench", description=description)
    models = "bundles' folders, artefacts as BUNDLE/ARTEFACT, or checkpoints, which run on torch"
    parser.add_argument("models", type=Path, nargs="+", help=models)
    add_choice(parser)
    add_engines(parser)
    threads = "numbers of threads of one inference, e.g. 1,2"
    parser.add_argument("--threads", type=str, default="1", help=threads)
    streams = "numbers of streams at the same time, each with one thread, e.g. 1,2,4,8; by default as --threads"
    parser.add_argument("--streams", type=str | None, default=None, help=streams)
    against = "a bundle, BUNDLE/ARTEFACT or a checkpoint; print how many times faster the others are"
    parser.add_argument("--against", type=Path | None, default=None, help=against)
    against_runtime = "engine of what --against names; by default the engines of the candidates"
    parser.add_argument("--against_runtime", type=str | None, default=None, help=against_runtime)
    image = "picture for the times of preprocessing and decoding; by default coloured patches of 640x480 pixels"
    parser.add_argument("--image", type=Path | None, default=None, help=image)
    profile = "also measure where the time goes, layer by layer; picture and record stand beside the other record"
    parser.add_argument("--profile", action="store_true", help=profile)
    board_log = "logs of hrt_model_exec perf, with commas between; only makes a table and a record of them"
    parser.add_argument("--board_log", type=str | None, default=None, help=board_log)
    parser.add_argument("--board", type=str, default="RDK X5", help="name of the board that wrote the logs")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of untimed runs before each measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement of each candidate")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of the order of the candidates in every round")
    record = "JSON file for the numbers; by default NAME_bench.json beside the first model"
    parser.add_argument("--record", type=Path | None, default=None, help=record)
    return parser


def _schedule(args: Namespace) -> Schedule:
    threads = parse_counts(args.threads)
    cores = usable_cores()
    if max(threads) > cores:
        raise InputError(f"--threads {args.threads}: this process may use {cores} cores")
    streams = () if args.streams is None else parse_counts(args.streams, option="--streams")
    if streams and max(streams) > _MOST_STREAMS:
        raise InputError(f"--streams {args.streams}: must be at most {_MOST_STREAMS}")
    # The throughput of as many streams as threads is always measured: a board has the same cores for both.
    streams = tuple(sorted({*threads, *streams}))
    return Schedule(threads=threads, streams=streams, warmup=args.warmup, seconds=args.seconds, seed=args.seed)
