"""Measure training on a CPU: what each ingredient of a fast step gives, and what the training loop adds to a step.

    OMP_NUM_THREADS=2 python benchmarks/training.py

The ladder times steps of ParC-Net-XS (64x64, batches of 64) from the papers' form in plain PyTorch to what `parckit
train` runs. Memory is kept for a whole process, so every rung runs in processes of its own, which alternate round by
round; the last one in two that share the threads and average their gradients. The loop is timed on `test_parcnet`:
`parckit train` on the digits, without averaged weights and from an epoch's first batch to its last, against the same
loading and steps written out in PyTorch, alternately too.
"""

import argparse
import contextlib
import io
import itertools
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from time import perf_counter

import numpy as np
import torch
from torch import nn
from torch.distributed import init_process_group
from torch.nn.parallel import DistributedDataParallel

from parckit.cli.train import main as train
from parckit.layers import AxisConv2d, Form
from parckit.measure.interleaved import compare_times
from parckit.measure.records import write_record
from parckit.models import create_model
from parckit.tasks import RunPlan, TrainingData, recipe_parser
from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.precision import keep_strided_depthwise_float32
from parckit.tasks.recipe import build_task

RECORD = Path(__file__).parent / "records" / "training.json"
SEED = 0
MODEL, SIDE, BATCH = "parcnet_xs", 64, 64
WARM_STEPS, TIMED_STEPS = 4, 12

LOOP_MODEL, LOOP_BATCH, LOOP_EPOCHS = "test_parcnet", 32, 3


@dataclass(frozen=True, kw_only=True)
class Rung:
    """How training steps run."""

    name: str
    keep_memory: bool = False
    form: Form = "conv"
    channels_last: bool = False
    fused: bool = False
    bfloat16: bool = False
    spare: bool = False
    processes: int = 1


_KEPT = Rung(name="+ freed memory kept", keep_memory=True)
_FORM = replace(_KEPT, name="+ form by shape", form="auto")
_LAYOUT = replace(_FORM, name="+ channels_last", channels_last=True)
_FUSED = replace(_LAYOUT, name="+ fused AdamW", fused=True)
_BFLOAT16 = replace(_FUSED, name="+ bfloat16", bfloat16=True)
_SPARED = replace(_BFLOAT16, name="+ strided depthwise in float32", spare=True)
_APART = replace(_SPARED, name="+ a process for each thread", processes=2)
LADDER = (Rung(name="conv form, NCHW"), _KEPT, _FORM, _LAYOUT, _FUSED, _BFLOAT16, _SPARED, _APART)


def main() -> None:
    """Measure, print, record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5, help="of the ladder")
    parser.add_argument("--loop-rounds", type=int, default=20, help="of the loop, whose cost is less than the noise")
    parser.add_argument("--rung", type=int, help="only run this rung's steps, and print their seconds")
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    torch.set_num_threads(threads)
    if arguments.rung is not None:
        print(json.dumps(step_seconds(LADDER[arguments.rung])))
        return
    values = {"ladder": measure_ladder(arguments.rounds, threads=threads), "loop": measure_loop(arguments.loop_rounds)}
    write_record(RECORD, "training", values, seed=SEED, threads=threads)
    print(json.dumps(values, indent=2))


def measure_ladder(rounds: int, *, threads: int) -> dict[str, object]:
    """Run every rung in processes of its own, round by round."""
    times: dict[str, list[float]] = {rung.name: [] for rung in LADDER}
    for _, (number, rung) in itertools.product(range(rounds), enumerate(LADDER)):
        times[rung.name].append(run_rung(number, processes=rung.processes, threads=threads))
    baseline = times[LADDER[0].name]
    rows = [
        {
            "step": name,
            "images_per_second": BATCH / statistics.median(seconds_of_rounds),
            **asdict(compare_times(baseline, seconds_of_rounds)),
        }
        for name, seconds_of_rounds in times.items()
    ]
    return {"model": MODEL, "side": SIDE, "batch": BATCH, "rounds": rounds, "rungs": rows}


def run_rung(number: int, *, processes: int, threads: int) -> float:
    """Return the seconds that a rung takes for a batch: its processes share the threads and each have batches."""
    with tempfile.TemporaryDirectory() as folder:
        of_all = {
            "OMP_NUM_THREADS": str(threads // processes),
            "WORLD_SIZE": str(processes),
            "RENDEZVOUS": (Path(folder) / "store").as_uri(),
        }
        started = [
            subprocess.Popen(
                [sys.executable, __file__, "--rung", str(number)],
                stdout=subprocess.PIPE,
                env=os.environ | of_all | {"RANK": str(rank)},
                text=True,
            )
            for rank in range(processes)
        ]
        outputs = [process.communicate()[0] for process in started]
    if any(process.returncode for process in started):
        raise SystemExit(f"rung {number} failed")
    return max(statistics.median(json.loads(output.splitlines()[-1])) for output in outputs) / processes


def step_seconds(rung: Rung) -> list[float]:
    """Return the seconds of single training steps on random images."""
    if rung.keep_memory:
        keep_freed_memory()
    torch.manual_seed(SEED)
    layout = torch.channels_last if rung.channels_last else torch.contiguous_format
    model = create_model(MODEL, num_classes=10).train().to(memory_format=layout)
    for module in model.modules():
        if isinstance(module, AxisConv2d):
            module.form = rung.form
    if rung.spare:
        keep_strided_depthwise_float32(model)
    if rung.processes > 1:
        rank, processes = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
        init_process_group("gloo", init_method=os.environ["RENDEZVOUS"], rank=rank, world_size=processes)
        model = DistributedDataParallel(model)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=rung.fused or None)
    images = torch.randn(BATCH, 3, SIDE, SIDE).to(memory_format=layout)
    targets = torch.arange(BATCH) % 10
    seconds: list[float] = []
    for _ in range(WARM_STEPS + TIMED_STEPS):
        start = perf_counter()
        with torch.autocast("cpu", torch.bfloat16, enabled=rung.bfloat16):
            logits = model(images)
        nn.functional.cross_entropy(logits.float(), targets).backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(perf_counter() - start)
    return seconds[WARM_STEPS:]


def measure_loop(rounds: int) -> dict[str, object]:
    """Alternate epochs of `parckit train` and of a loop that is written out."""
    keep_freed_memory()
    pairs = [(loop_step_seconds(), bare_step_seconds()) for _ in range(rounds + 1)][1:]
    added = [1000 * (loop - bare) for loop, bare in pairs]
    return {
        "model": LOOP_MODEL,
        "batch": LOOP_BATCH,
        "rounds": rounds,
        "bare_ms": 1000 * statistics.median(bare for _, bare in pairs),
        "added_ms": statistics.median(added),
        "added_ms_of_rounds": added,
    }


def loop_arguments(out: str) -> list[str]:
    """Return the arguments of a training whose steps are as short as they get."""
    return [
        "--config=classify/digits_parcnet_xxs",
        f"--model.name={LOOP_MODEL}",
        f"--data.batch_size={LOOP_BATCH}",
        f"--trainer.max_epochs={LOOP_EPOCHS}",
        "--trainer.accelerator=cpu",
        "--threads=null",  # the recipe trains with one; the bare loop takes as many as OMP_NUM_THREADS says
        "--ema=null",
        f"--out={out}",
    ]


def loop_step_seconds() -> float:
    """Run `parckit train`; return the seconds of a step in its best epoch, with its loading and logs."""
    printed = io.StringIO()
    with tempfile.TemporaryDirectory() as out, contextlib.redirect_stdout(printed):
        train(loop_arguments(out))
    rates = [float(rate) for rate in re.findall(r"images/s ([\d.]+);", printed.getvalue())]
    assert len(rates) == LOOP_EPOCHS
    return LOOP_BATCH / max(rates)


def bare_step_seconds() -> float:
    """Do what a step of that training does in plain PyTorch; return its seconds in the best epoch."""
    parser = recipe_parser()
    config = parser.parse(loop_arguments("unused"))
    data = TrainingData(parser.build(config).data, task=build_task(config))
    data.begin(RunPlan(batch_size=LOOP_BATCH, epochs=LOOP_EPOCHS))
    model = create_model(LOOP_MODEL, num_classes=len(data.labels), **(config.model.kwargs or {}))
    model, loader = model.train().to(memory_format=torch.channels_last), data.train_dataloader()
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3, fused=True)
    epochs: list[float] = []
    for _ in range(LOOP_EPOCHS):
        start = perf_counter()
        for batch in loader:
            images = batch.images.to(memory_format=torch.channels_last)
            nn.functional.cross_entropy(model(images), batch.targets, label_smoothing=0.1).backward()
            optimizer.step()
            optimizer.zero_grad()
        epochs.append((perf_counter() - start) / len(loader))
    return float(np.min(epochs))


if __name__ == "__main__":
    main()
