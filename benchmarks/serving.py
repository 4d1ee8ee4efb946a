"""Load `parckit serve` on this machine: throughput against the bare engine, overload, memory, and a stop under load.

    python benchmarks/serving.py

The server and the bare engine run on one core with one thread, and the client on another core. The bare engine is a
`Predictor` in a loop: it decodes the same bytes of a JPEG, prepares them, runs the network, and decodes its outputs.
The two take turns. While the bare engine runs, the client's core is idle, which rather helps the bare engine.

In the overload, requests come at four times the rate that the server has just reached, whether it answers or not; their
time counts from when they were due. In the memory test, pictures, drawings, forms and hostile files come in a mixture,
and as many clients as the queue has places send one byte a second. In the stop, clients send `Expect: 100-continue`: a
request counts as accepted when the server asks for its body.
"""

import argparse
import itertools
import json
import os
import signal
import statistics
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import numpy as np

from http_load import Outcome, Request, SlowClients, closed_loop, open_loop, wait_for_port
from parckit.deploy import export
from parckit.measure.interleaved import compare_times
from parckit.measure.records import write_record
from parckit.processing import decode_image
from parckit.runtimes import load
from serving_pictures import PHOTO, SEED, large_picture, mixture, photos

RECORD = Path(__file__).parent / "records" / "serving.json"
WEIGHTS = {"tinydet_parcnet_xs.bccd": "a detector at 240x320", "parcnet_xs.cifar10": "a classifier at 32x32"}
"""A network of the size that boards run, and one so small that a request costs more than its inference."""
CLIENTS = 8
"""So many pictures are always there that the server never waits for the client."""
QUEUE = 32
"""The server's default, written out because the bound of the overload depends on it."""
HOT_SECONDS = 30.0
"""Until then, the memory of a server still grows: every thread and every size of picture comes for the first time."""


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=12, help="turns of the bare engine and the server")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    parser.add_argument("--overload-seconds", type=float, default=30.0)
    parser.add_argument("--memory-minutes", type=float, default=10.0)
    parser.add_argument("--stops", type=int, default=10, help="stops under load")
    parser.add_argument("--out", type=Path, default=RECORD)
    parser.add_argument("--bare", help="answer the photo for --seconds whenever a line comes")
    args = parser.parse_args()
    if args.bare is not None:
        answer_in_turns(Path(args.bare), seconds=args.seconds)
        return
    cores = os.sched_getaffinity(0)
    if len(cores) < 2:
        parser.error("needs two cores: one for the server, one for the client")
    server_core, client_core = sorted(cores)[:2]
    os.sched_setaffinity(0, {client_core})
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for weights, what in WEIGHTS.items():
            bundle = Path(folder) / weights
            export(weights, bundle)
            row: dict[str, object] = {"weights": weights, "what": what, "picture_bytes": len(PHOTO)}
            row["throughput"] = throughput(bundle, core=server_core, rounds=args.rounds, seconds=args.seconds)
            rate = 4 * row["throughput"]["server_per_second"]
            row["overload"] = overload(bundle, core=server_core, rate=rate, seconds=args.overload_seconds)
            print(json.dumps(row), flush=True)
            rows.append(row)
        bundle = Path(folder) / next(iter(WEIGHTS))
        memory = watch_memory(bundle, core=server_core, seconds=60 * args.memory_minutes)
        print(json.dumps({**memory, "samples": "..."}), flush=True)
        large = {form: peak_megabytes(bundle, core=server_core, form=form) for form in ("json", "drawing")}
        print(json.dumps(large), flush=True)
        stopped = stop_under_load(bundle, core=server_core, stops=args.stops)
        print(json.dumps(stopped), flush=True)
    os.sched_setaffinity(0, cores)  # the record tells how many there are
    values = {"clients": CLIENTS, "queue": QUEUE, "rows": rows, "memory": memory, "stop": stopped}
    values["large_picture_mb"] = large
    write_record(args.out, "serving", values, seed=SEED, threads=1)
    print(tables(values))


def tables(values: Mapping[str, Any]) -> str:
    """Return the values of a record as the tables of docs/serve.md."""
    lines = ["| network | bare engine, pictures/s | server, pictures/s | server / bare (95 %) |", "|---|---|---|---|"]
    for row in values["rows"]:
        measured = row["throughput"]
        rates = f"{measured['bare_per_second']:.1f} | {measured['server_per_second']:.1f}"
        ratio = f"{measured['server_of_bare']:.2f} ({measured['low']:.2f} to {measured['high']:.2f})"
        lines.append(f"| {row['what']} | {rates} | {ratio} |")
    heads = ("network", "requests/s", "refused", "answered/s", "answered: median", "99 %", "99 % / full queue")
    lines += ["", f"| {' | '.join(heads)} | refused: 99 % |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in values["rows"]:
        measured, answered = row["overload"], row["overload"]["answered_ms"]
        shares = f"{measured['offered_per_second']:.0f} | {100 * measured['share_refused']:.0f} %"
        bound = f"{answered['p99'] / measured['full_queue_ms']:.2f}"
        refused = f"{measured['refused_ms']['p99']:.0f} ms"
        times = f"{answered['p50']:.0f} ms | {answered['p99']:.0f} ms | {bound} | {refused}"
        lines.append(f"| {row['what']} | {shares} | {measured['answered_per_second']:.1f} | {times} |")
    memory, stop = values["memory"], values["stop"]
    # A sample may come while a large picture is decoded, so a median says what the server keeps.
    fifth = max(1, len(memory["samples"]) // 5)
    first, last = (statistics.median(part) for part in (memory["samples"][:fifth], memory["samples"][-fifth:]))
    heads = ("answers", "refusals", "memory, first fifth of the time", "last fifth", "highest", "stops", "accepted")
    lines += ["", f"| memory test | {' | '.join(heads)} | lost |"]
    lines.append("|---|---|---|---|---|---|---|---|---|")
    counts = f"{memory['statuses']['200']} | {memory['statuses']['400']}"
    megabytes = f"{first:.0f} MB | {last:.0f} MB | {memory['most_mb']:.0f} MB"
    stops = f"{stop['stops']} | {stop['answered'] + stop['lost']} | {stop['lost']}"
    lines.append(f"| {memory['minutes']:.0f} minutes | {counts} | {megabytes} | {stops} |")
    lines += ["", "| picture of 64 million pixels | memory beside the server's |", "|---|---|"]
    lines += [f"| {form} | {megabytes:.0f} MB |" for form, megabytes in values["large_picture_mb"].items()]
    return "\n".join(lines)


def answer_in_turns(bundle: Path, *, seconds: float) -> None:
    """Answer every line by the pictures per second of the bare engine."""
    predictor = load(bundle, threads=1)
    predictor(decode_image(PHOTO, name="photo"))
    for _ in sys.stdin:
        done, start = 0, perf_counter()
        while perf_counter() - start < seconds:
            predictor(decode_image(PHOTO, name="photo")).to_plain()
            done += 1
        print(done / (perf_counter() - start), flush=True)


@contextmanager
def started(*command: str, core: int) -> Iterator[subprocess.Popen[str]]:
    """Start a process on a core; end it in the end."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    try:
        process = subprocess.Popen([sys.executable, *command], **pipes)
    finally:
        os.sched_setaffinity(0, before)
    with process:
        try:
            yield process
        finally:
            process.kill()


@contextmanager
def serving(bundle: Path, *options: str, core: int) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Start a server with one thread on a core; yield its process and its port."""
    verb = ("-m", "parckit.cli.main", "serve", str(bundle), "--port=0", "--threads=1", f"--queue={QUEUE}", *options)
    with started(*verb, core=core) as process:
        yield process, wait_for_port(process.stdout.readline)


def throughput(bundle: Path, *, core: int, rounds: int, seconds: float) -> dict[str, object]:
    """Let the bare engine and the server take turns."""
    bare, served = [], []
    itself = (__file__, f"--bare={bundle}", f"--seconds={seconds}")
    with started(*itself, core=core) as engine, serving(bundle, core=core) as (_, port):
        closed_loop(port, photos(), clients=CLIENTS, seconds=1)
        for _ in range(rounds):
            engine.stdin.write("\n")
            engine.stdin.flush()
            bare.append(float(engine.stdout.readline()))
            start = perf_counter()
            outcomes = closed_loop(port, photos(), clients=CLIENTS, seconds=seconds)
            served.append(len(outcomes) / (perf_counter() - start))
            assert all(outcome.status == 200 for outcome in outcomes)
    ratio = compare_times([1 / rate for rate in bare], [1 / rate for rate in served])
    return {
        "bare_per_second": statistics.median(bare),
        "server_per_second": statistics.median(served),
        "server_of_bare": ratio.speedup,
        "low": ratio.low,
        "high": ratio.high,
        "of_rounds": {"bare": bare, "server": served},
    }


def overload(bundle: Path, *, core: int, rate: float, seconds: float) -> dict[str, object]:
    """Send requests at a rate that the server cannot reach."""
    with serving(bundle, core=core) as (_, port):
        closed_loop(port, photos(), clients=CLIENTS, seconds=1)
        start = perf_counter()
        outcomes = open_loop(port, Request(PHOTO), rate=rate, seconds=seconds)
        lasted = perf_counter() - start
    by_status = {status: [one for one in outcomes if one.status == status] for status in (200, 503)}
    assert len(outcomes) == sum(map(len, by_status.values())), "an answer is neither 200 nor 503"
    accepted, refused = by_status[200], by_status[503]
    return {
        "offered_per_second": len(outcomes) / seconds,
        "answered_per_second": len(accepted) / lasted,
        "share_refused": len(refused) / len(outcomes),
        "all_refusals_say_when_to_retry": all(one.retry_after for one in refused),
        "answered_ms": percentiles(accepted),
        "refused_ms": percentiles(refused),
        # An accepted request waits for all that were accepted before.
        "full_queue_ms": 1000 * QUEUE * lasted / len(accepted),
    }


def percentiles(outcomes: Sequence[Outcome]) -> dict[str, float]:
    """Return percentiles of the time that answers took, milliseconds."""
    p50, p99 = np.percentile([1000 * outcome.seconds for outcome in outcomes], (50, 99)).tolist()
    return {"p50": p50, "p99": p99, "max": 1000 * max(outcome.seconds for outcome in outcomes)}


def watch_memory(bundle: Path, *, core: int, seconds: float) -> dict[str, object]:
    """Take the resident memory of a server once a second while it answers the mixture."""
    samples: list[float] = []
    with serving(bundle, core=core) as (process, port):
        slow = SlowClients(port, clients=QUEUE)

        def watch() -> None:
            samples.append(resident_megabytes(process.pid))
            slow.send()

        outcomes = closed_loop(port, mixture(), clients=CLIENTS, seconds=seconds, each_second=watch)
        slow.close()
    statuses = Counter(str(outcome.status) for outcome in outcomes)
    hot = samples[min(int(HOT_SECONDS), len(samples) // 2) :]
    per_second, _ = np.polyfit(np.arange(len(hot)), hot, 1).tolist()
    return {
        "minutes": seconds / 60,
        "statuses": dict(statuses),
        "hot_first_mb": hot[0],
        "last_mb": hot[-1],
        "least_mb": min(hot),
        "most_mb": max(hot),
        "trend_mb_per_hour": 3600 * per_second,
        "samples": samples[:: max(1, len(samples) // 60)],
    }


def resident_megabytes(pid: int) -> float:
    """Return the memory that a process has now."""
    pages = int(Path(f"/proc/{pid}/statm").read_text(encoding="ascii").split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def peak_megabytes(bundle: Path, *, core: int, form: str) -> float:
    """Return how much memory a server needs for the large picture, beside what it has before."""
    with serving(bundle, core=core) as (process, port):
        before = resident_megabytes(process.pid)
        requests = itertools.repeat(Request(large_picture(), query=f"?answer={form}"))
        outcomes = closed_loop(port, requests, clients=1, seconds=0.5)  # one request takes longer
        assert outcomes[0].status == 200, outcomes
        status = Path(f"/proc/{process.pid}/status").read_text(encoding="ascii")
    peak = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return int(peak) * 1024 / 1e6 - before


def stop_under_load(bundle: Path, *, core: int, stops: int) -> dict[str, object]:
    """Send SIGTERM to servers under load, and count what becomes of the requests."""
    codes, answered, lost, not_accepted = [], 0, 0, 0
    for _ in range(stops):
        with serving(bundle, core=core) as (process, port):
            seconds = itertools.count(1)

            def stop(process: subprocess.Popen[str] = process, seconds: Iterator[int] = seconds) -> bool:
                if next(seconds) < 2:
                    return False
                process.send_signal(signal.SIGTERM)
                return True

            outcomes = closed_loop(port, photos(), clients=2 * CLIENTS, seconds=60, ask_first=True, each_second=stop)
            codes.append(process.wait(60))
        answered += sum(one.accepted and one.status == 200 for one in outcomes)
        lost += sum(one.accepted and one.status != 200 for one in outcomes)
        not_accepted += sum(not one.accepted for one in outcomes)
    return {"stops": stops, "answered": answered, "lost": lost, "not_accepted": not_accepted, "exit_codes": codes}


if __name__ == "__main__":
    main()
