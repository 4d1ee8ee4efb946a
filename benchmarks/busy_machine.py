"""Measure training on a CPU whose cores other programs use too: images/s by threads and by the way threads wait.

    python benchmarks/busy_machine.py

A neighbour is a process that counts without end. Every way of training has a process of its own, since OpenMP reads
its variables once, when torch is loaded. In every round all networks train for some seconds in all ways beside no
neighbour, then beside one, and so on. The processes of a way sleep while another one is measured. What programs other
than the neighbours took of the machine meanwhile is recorded too.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from time import perf_counter

import torch
from torch import nn

from parckit.measure.environment import usable_cores
from parckit.measure.records import write_record
from parckit.models import create_model
from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.precision import keep_strided_depthwise_float32

RECORD = Path(__file__).parent / "records" / "busy_machine.json"
SEED = 0
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, kw_only=True)
class Work:
    """Training steps as a recipe has them, on random images and with AdamW."""

    model: str
    kwargs: Mapping[str, object]
    side: int
    batch: int
    bfloat16: bool = False


WORKS = {
    "classify/digits_parcnet_xxs": Work(model="parcnet_xxs", kwargs={"stem_stride": 2}, side=32, batch=32),
    "classify/cifar10_parcnet_xs": Work(
        model="parcnet_xs",
        kwargs={"img_size": 32, "stem_stride": 1, "output_stride": 8},
        side=32,
        batch=128,
        bfloat16=True,
    ),
    "classify/finetune_small": Work(
        model="parcnet_xs", kwargs={"img_size": 64, "stem_stride": 2, "output_stride": 16}, side=96, batch=32
    ),
    "parcnet_s at 128x128": Work(model="parcnet_s", kwargs={}, side=128, batch=8),
}


@dataclass(frozen=True, kw_only=True)
class Way:
    """How a process trains.

    Attributes:
        threads: None for torch's own number.
        variables: how threads wait for each other: environment variables that OpenMP reads.
    """

    threads: int | None = None
    variables: Mapping[str, str] = field(default_factory=dict)


PASSIVE = {"OMP_WAIT_POLICY": "PASSIVE"}
WAYS = {
    "torch's threads, OpenMP's default": Way(),
    "torch's threads, parckit's setting": Way(variables=PASSIVE | {"GOMP_SPINCOUNT": "1000"}),
    "torch's threads, passive": Way(variables=PASSIVE),
    "one thread": Way(threads=1),
}


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each measurement, at least")
    parser.add_argument("--neighbours", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--serve", help="train in this way whenever standard input names a network")
    args = parser.parse_args()
    if args.serve is not None:
        serve(WAYS[args.serve], seconds=args.seconds)
        return
    rows = measure(args.rounds, neighbours=args.neighbours, seconds=args.seconds)
    values = {"cores": usable_cores(), "rounds": args.rounds, "ways": [*WAYS], "rows": rows}
    write_record(args.out, "busy_machine", values, seed=SEED, threads=None)
    for row in rows:
        print(json.dumps(row))


def serve(way: Way, *, seconds: float) -> None:
    """Answer every line, the name of a work, by a line with its images/s."""
    keep_freed_memory()
    torch.manual_seed(SEED)
    if way.threads is not None:
        torch.set_num_threads(way.threads)
    steps = {name: training_steps(work) for name, work in WORKS.items()}
    for line in sys.stdin:
        name = line.strip()
        next(steps[name])  # warms caches up again
        done, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            next(steps[name])
            done += 1
        print(done * WORKS[name].batch / (perf_counter() - start), flush=True)


def training_steps(work: Work) -> Iterator[None]:
    """Train a network a step further whenever asked."""
    model = create_model(work.model, num_classes=10, **work.kwargs).train().to(memory_format=torch.channels_last)
    if work.bfloat16:
        keep_strided_depthwise_float32(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    images = torch.randn(work.batch, 3, work.side, work.side).to(memory_format=torch.channels_last)
    targets = torch.arange(work.batch) % 10
    while True:
        with torch.autocast("cpu", torch.bfloat16, enabled=work.bfloat16):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        yield


def measure(rounds: int, *, neighbours: list[int], seconds: float) -> list[dict[str, object]]:
    """Let the ways take turns; return a row for every network and number of neighbours."""
    rates: dict[tuple[str, int, str], list[float]] = {}
    foreign: dict[tuple[str, int], list[float]] = {}
    with ExitStack() as stack:
        servers = {name: stack.enter_context(started(server_command(name, seconds), way=WAYS[name])) for name in WAYS}
        for _, count in itertools.product(range(rounds), neighbours):
            for (work, way), (rate, others) in measure_beside(servers, count).items():
                rates.setdefault((work, count, way), []).append(rate)
                foreign.setdefault((work, count), []).append(others)
    return [
        {
            "network": work,
            "neighbours": count,
            "images_per_second": {way: statistics.median(rates[work, count, way]) for way in WAYS},
            "of_rounds": {way: rates[work, count, way] for way in WAYS},
            "cores_of_other_programs": statistics.median(foreign[work, count]),
        }
        for work, count in itertools.product(WORKS, neighbours)
    ]


def measure_beside(
    servers: Mapping[str, subprocess.Popen[str]], neighbours: int
) -> dict[tuple[str, str], tuple[float, float]]:
    """Ask all servers for all works, once, beside so many neighbours."""
    with ExitStack() as stack:
        spinning = [stack.enter_context(started([sys.executable, "-c", "while True: pass"])) for _ in range(neighbours)]
        return {(work, way): ask(servers[way], work, spinning) for work, way in itertools.product(WORKS, WAYS)}


def server_command(way: str, seconds: float) -> list[str]:
    """Return the command of a process that trains in a way when asked."""
    return [sys.executable, __file__, "--serve", way, "--seconds", str(seconds)]


@contextmanager
def started(command: list[str], *, way: Way | None = None) -> Iterator[subprocess.Popen[str]]:
    """Start a process; end it in the end."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    if way is not None:
        environment |= way.variables
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, env=environment, **pipes) as process:
        try:
            yield process
        finally:
            process.kill()


def ask(server: subprocess.Popen[str], work: str, neighbours: list[subprocess.Popen[str]]) -> tuple[float, float]:
    """Return a server's images/s, and how many cores programs had meanwhile that are none of this measurement's."""
    mine = [server, *neighbours]
    start, busy, used = perf_counter(), busy_seconds(), sum(map(seconds_of, mine))
    server.stdin.write(f"{work}\n")
    server.stdin.flush()
    rate = float(server.stdout.readline())
    others = (busy_seconds() - busy) - (sum(map(seconds_of, mine)) - used)
    return rate, max(0.0, others / (perf_counter() - start))


def busy_seconds() -> float:
    """Return for how long all cores together have been busy since the machine's start."""
    user, nice, system = Path("/proc/stat").read_text(encoding="utf-8").split("\n", 1)[0].split()[1:4]
    return (int(user) + int(nice) + int(system)) / TICKS


def seconds_of(process: subprocess.Popen[str]) -> float:
    """Return for how long a process has kept cores busy."""
    fields = Path(f"/proc/{process.pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


if __name__ == "__main__":
    main()
