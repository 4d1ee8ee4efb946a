"""Compare a detector with ParC with its twin without ParC on `digit_scenes`, and record the results.

    OMP_NUM_THREADS=1 python benchmarks/twins.py --out DIR [--epochs 4]

`parckit train` trains both twins from the recipe `detect/digit_scenes_tinydet`, so scenes, schedule and head are the
same. Only the backbone differs: `parc_resnet10t` or timm's `resnet10t`, both with the recipe's numbers of channels.
Each is trained with 3 seeds, and its best epoch is tested on the test scenes of `digit_scenes`.
A training that is finished in DIR with the same options is not repeated; one that was cut off starts again.
"""

import argparse
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from scipy.stats import ttest_ind

from parckit.measure.cost import count
from parckit.measure.environment import describe
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.records import write_record
from parckit.networks import open_checkpoint
from parckit.tasks.recipe import find_recipe, read_recipe

RECIPE = "detect/digit_scenes_tinydet"
PARC, PLAIN = "parc_resnet10t", "resnet10t"
SEEDS = (0, 1, 2)
TEST = EvaluationData(source="digit_scenes", split="test")
THREADS = 1
"""The recipe trains with as many threads."""

RESULTS = ("map", "map_50")
CONFIDENCE = 0.95
RECORD = Path(__file__).parent / "records" / "detection_twins.json"


def main() -> None:
    """Run what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--epochs", type=int, help="epochs of every training; by default the recipe's number")
    parser.add_argument("--data", help="scenes to train on, such as digit_scenes:40; by default the recipe's")
    parser.add_argument("--record", type=Path, default=RECORD, help="file of the results")
    arguments = parser.parse_args()
    shared = ["--trainer.enable_progress_bar", "false"]
    if arguments.epochs is not None:
        shared += ["--epochs", str(arguments.epochs)]
    if arguments.data is not None:
        shared += ["--data", arguments.data]
    runs: dict[str, list[dict[str, Any]]] = {PARC: [], PLAIN: []}
    # The twins take turns, so that a machine that becomes slower meets both.
    for seed in SEEDS:
        for name, done in runs.items():
            done.append(run(name, [*twin_options(name), *shared], seed=seed, out=arguments.out / f"{name}_seed{seed}"))
    values = {
        "recipe": RECIPE,
        "test": TEST.source,
        "twins": {name: summary(done) for name, done in runs.items()},
        "difference": {name: difference(runs[PARC], runs[PLAIN], name) for name in RESULTS},
    }
    write_record(arguments.record, "detection_twins", values, seed=None, threads=THREADS)
    print(json.dumps(values, indent=2))


def twin_options(name: str) -> list[str]:
    """Return the options that choose a twin. The plain one has no kernels that depend on the size of the image."""
    if name == PARC:
        return []
    model = cast("dict[str, dict[str, object]]", read_recipe(find_recipe(RECIPE))["model"])
    kwargs = {key: value for key, value in model["kwargs"].items() if key != "img_size"}
    return ["--model.name", name, "--model.kwargs", json.dumps(kwargs)]


def run(name: str, options: Sequence[str], *, seed: int, out: Path) -> dict[str, Any]:
    """Train and test a twin, unless that was done before with the same options; return the results."""
    command = ["train", "--config", RECIPE, "--out", str(out), "--seed", str(seed), *options]
    written = shlex.join(["parckit", *command]).replace(str(out.parent), "OUT")
    path = out / "twin.json"
    if path.is_file():
        finished = json.loads(path.read_text(encoding="utf-8"))
        if finished["train_command"] == written:
            return finished
    commit, begun = describe().commit, time.perf_counter()
    subprocess.run([sys.executable, "-m", "parckit.cli.main", *command, "--overwrite"], check=True)
    seconds = round(time.perf_counter() - begun)
    checkpoint = out / "best.ckpt"
    network, spec = open_checkpoint(checkpoint)
    if spec.backbone != name:
        raise RuntimeError(f"{checkpoint} has the backbone {spec.backbone}, not {name}")
    cost = count(network, size=spec.preprocessing.size)
    scalars = evaluate(checkpoint, TEST, threads=THREADS).score.scalars
    result = {
        "train_command": written,
        "train_commit": commit,
        "train_seconds": seconds,
        "seed": seed,
        "params": cost.params,
        "madds": cost.madds,
        **{name: scalars[name] for name in RESULTS},
    }
    path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return result


def summary(runs: Sequence[Mapping[str, Any]]) -> dict[str, object]:
    """Return the mean of every result and the numbers of every seed."""
    means = {name: statistics.fmean(one[name] for one in runs) for name in RESULTS}
    constant = {name: runs[0][name] for name in ("params", "madds")}
    return {**constant, "mean": means, "runs": [{k: v for k, v in one.items() if k not in constant} for one in runs]}


def difference(
    ours: Sequence[Mapping[str, Any]], theirs: Sequence[Mapping[str, Any]], name: str
) -> dict[str, float | list[float]]:
    """Return the difference of two means, ours less theirs, and its 95 % interval after Welch.

    The seeds make independent trainings, and their results need not vary as much on both sides.
    """
    a, b = ([float(one[name]) for one in side] for side in (ours, theirs))
    interval = ttest_ind(a, b, equal_var=False).confidence_interval(CONFIDENCE)
    return {
        "mean": statistics.fmean(a) - statistics.fmean(b),
        "confidence": CONFIDENCE,
        "interval": [float(interval.low), float(interval.high)],
    }


if __name__ == "__main__":
    main()
