"""Measure memory and time of Mask R-CNN with ParC-ConvNeXt-XT against the size of the image, in torch on a CPU.

    OMP_NUM_THREADS=1 python benchmarks/two_stage_sizes.py

Weights are random, and the batch is one image. The answer of an untrained network is full: 1,000 proposals and 100
detections, the most that there can be. Memory is what a process needs at its peak beyond what it needs with the network
alone, so every measurement has a process of its own. The processes of all sizes alternate round by round.
"""

import argparse
import itertools
import json
import os
import statistics
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Literal, cast, get_args

import numpy as np
import torch

from parckit.contract import NetworkSpec, Preprocessing
from parckit.data import Objects
from parckit.measure.memory import peak_resident
from parckit.measure.records import write_record
from parckit.networks import RCNN, build_network

RECORD = Path(__file__).parent / "records" / "two_stage_sizes.json"
SEED = 0
HEAD, BACKBONE = "mask_rcnn", "parc_convnext_xt"
CLASSES = 80
SIZES = ((320, 320), (480, 800), (800, 1333))
OBJECTS = 7
"""Objects of the training image, about as many as COCO's pictures have."""

Mode = Literal["eval", "train"]


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=3, help="processes of every size and mode")
    parser.add_argument("--runs", type=int, default=3, help="timed runs of a process")
    parser.add_argument(
        "--one", nargs=3, metavar=("MODE", "HEIGHT", "WIDTH"), help="only measure this, in this process"
    )
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    if arguments.one is not None:
        mode, height, width = arguments.one
        print(json.dumps(measure(mode, (int(height), int(width)), runs=arguments.runs)))
        return
    results: dict[tuple[Mode, tuple[int, int]], list[dict[str, float]]] = {}
    for _, mode, size in itertools.product(range(arguments.rounds), get_args(Mode), SIZES):
        results.setdefault((mode, size), []).append(run_apart(mode, size, runs=arguments.runs))
    rows = [
        {
            "mode": mode,
            "size": list(size),
            "seconds": statistics.median(one["seconds"] for one in measured),
            "peak_bytes": max(one["peak_bytes"] for one in measured),
        }
        for (mode, size), measured in results.items()
    ]
    values = {"network": f"{HEAD}_{BACKBONE}", "classes": CLASSES, "rounds": arguments.rounds, "rows": rows}
    write_record(RECORD, "two_stage_sizes", values, seed=SEED, threads=threads)
    print(json.dumps(values, indent=2))


def run_apart(mode: Mode, size: tuple[int, int], *, runs: int) -> dict[str, float]:
    """Measure in a process of its own."""
    command = [sys.executable, __file__, f"--runs={runs}", "--one", mode, *map(str, size)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return cast("dict[str, float]", json.loads(done.stdout.splitlines()[-1]))


def measure(mode: Mode, size: tuple[int, int], *, runs: int) -> dict[str, float]:
    """Return the median seconds of a run, after one that is not timed, and the peak memory beyond the network's."""
    torch.manual_seed(SEED)
    labels = tuple(map(str, range(CLASSES)))
    spec = NetworkSpec(
        task="detect",
        backbone=BACKBONE,
        head=HEAD,
        # Fresh scores are about 1 / 81.
        head_kwargs={"threshold": 0.001},
        labels=labels,
        preprocessing=Preprocessing(size=size),
    )
    network = cast("RCNN", build_network(spec))
    image, objects = torch.randn(1, 3, *size), random_objects(size)
    before, seconds = peak_resident(), list[float]()
    for _ in range(1 + runs):
        started = perf_counter()
        if mode == "eval":
            with torch.inference_mode():
                network.eval()(image)
        else:
            network.zero_grad()
            torch.stack([*network.train().losses(image, [objects]).values()]).sum().backward()
        seconds.append(perf_counter() - started)
    return {"seconds": statistics.median(seconds[1:]), "peak_bytes": peak_resident() - before}


def random_objects(size: tuple[int, int]) -> Objects:
    """Return rectangles with their masks."""
    height, width = size
    rng = np.random.default_rng(SEED)
    corners = rng.uniform(0, 1, (OBJECTS, 2)) * [width - 200, height - 200]
    boxes = torch.from_numpy(np.concatenate([corners, corners + rng.uniform(20, 200, (OBJECTS, 2))], axis=1)).float()
    masks = torch.zeros(OBJECTS, height, width, dtype=torch.bool)
    for mask, (left, top, right, bottom) in zip(masks, boxes.int().tolist(), strict=True):
        mask[top:bottom, left:right] = True
    return Objects(boxes, torch.arange(OBJECTS), torch.zeros(OBJECTS, dtype=torch.bool), masks)


if __name__ == "__main__":
    main()
