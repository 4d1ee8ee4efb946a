"""`parckit bench`: latency and throughput of a bundle or checkpoint."""

from dataclasses import asdict
from pathlib import Path

from parckit.cli.choice import add_choice, choice
from parckit.cli.tables import show, tell
from parckit.contract import InputError
from parckit.measure.environment import describe, usable_cores
from parckit.measure.latency import Benchmark, Timing, benchmark
from parckit.measure.records import write_record
from parckit.options import parse_counts, place_beside, verb_parser


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("bench", description="Latency percentiles and throughput on this machine.")
    parser.add_argument("model", type=Path, help="a bundle's folder, or a checkpoint, which runs on torch")
    add_choice(parser)
    parser.add_argument("--threads", type=str, default="1", help="numbers of threads to try, e.g. 1,2")
    parser.add_argument("--warmup", type=float, default=0.5, help="seconds of untimed runs before each measurement")
    parser.add_argument("--seconds", type=float, default=3.0, help="seconds of each measurement")
    record = "JSON file for the numbers; by default NAME_bench.json beside the model"
    parser.add_argument("--record", type=Path | None, default=None, help=record)
    args = parser.read(argv)
    counts = parse_counts(args.threads)
    cores = usable_cores()
    if max(counts) > cores:
        raise InputError(f"--threads {args.threads}: this process may use {cores} cores")
    record, obstacle = place_beside(args.model, "_bench.json", wanted=args.record, option="--record")
    result = benchmark(args.model, threads=counts, warmup=args.warmup, seconds=args.seconds, **choice(args))
    show_timings(result.timings, f"{args.model} ({result.artefact} on {result.engine})")
    if obstacle is not None:
        tell(f"no record: {record} cannot be written ({obstacle}); --record FILE writes it elsewhere")
        return
    values = record_values(result, model=args.model)
    write_record(record, "bench", values, seed=None, threads=max(counts))
    tell(f"record: {record}")


def record_values(result: Benchmark, *, model: Path) -> dict[str, object]:
    """Return the content of a record of timings, which `parckit report` reads."""
    return {"model": str(model), **asdict(result)}


def show_timings(timings: tuple[Timing, ...], name: str) -> None:
    """Print latency and throughput, and the machine that they were measured on."""
    machine = describe()
    batch = f", batches of {timings[0].batch_size}" if timings[0].batch_size > 1 else ""
    columns = ("threads", "p50 ms", "p90 ms", "p95 ms", "p99 ms", "images/s")
    rows = [
        (
            str(timing.threads),
            *(f"{value:.2f}" for value in (timing.p50_ms, timing.p90_ms, timing.p95_ms, timing.p99_ms)),
            f"{timing.images_per_second:.1f}",
        )
        for timing in timings
    ]
    show(f"{name}, {machine.cpu}, {machine.usable_cores} cores{batch}", columns, rows)
