"""Compare a network with ParC with its twin without ParC on `digit_scenes`, and record the results.

    OMP_NUM_THREADS=1 python benchmarks/twins.py --task detect --out DIR [--epochs 4]

`parckit train` trains both twins from the task's recipe for `digit_scenes`, so scenes, schedule and head are the same.
Only the backbone differs: `parc_resnet10t` or timm's `resnet10t`, both with the recipe's numbers of channels. Each is
trained with 3 seeds, and its best epoch is tested on the test scenes of `digit_scenes`.
A training that is finished in DIR with the same options is not repeated; one that was cut off goes on.
"""

import argparse
import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, cast

from scipy.stats import ttest_ind

from parckit.measure.cost import count
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.records import write_record
from parckit.networks import open_checkpoint
from parckit.tasks.recipe import find_recipe, read_recipe
from trainings import train


class Comparison(NamedTuple):
    """How the twins of a task are compared.

    Attributes:
        recipe: trains both.
        results: the scalars that are compared.
        record: name of the record.
    """

    recipe: str
    results: tuple[str, ...]
    record: str


COMPARISONS = {
    "detect": Comparison("detect/digit_scenes_tinydet", ("map", "map_50"), "detection_twins"),
    "segment": Comparison("segment/digit_scenes_upernet", ("miou", "boundary_iou"), "segmentation_twins"),
}
PARC, PLAIN = "parc_resnet10t", "resnet10t"
SEEDS = (0, 1, 2)
TEST = EvaluationData(source="digit_scenes", split="test")
THREADS = 1
"""The recipes train with as many threads."""

CONFIDENCE = 0.95
RECORDS = Path(__file__).parent / "records"


def main() -> None:
    """Run what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", choices=[*COMPARISONS], default="detect", help="what the networks are for")
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--epochs", type=int, help="epochs of every training; by default the recipe's number")
    parser.add_argument("--data", help="scenes to train on, such as digit_scenes:40; by default the recipe's")
    parser.add_argument("--record", type=Path, help="file of the results")
    arguments = parser.parse_args()
    compared = COMPARISONS[arguments.task]
    shared: list[str] = []
    if arguments.epochs is not None:
        shared += ["--epochs", str(arguments.epochs)]
    if arguments.data is not None:
        shared += ["--data", arguments.data]
    runs: dict[str, list[dict[str, Any]]] = {PARC: [], PLAIN: []}
    # The twins take turns, so that a machine that becomes slower meets both.
    for seed in SEEDS:
        for name, done in runs.items():
            options = [*twin_options(name, compared), *shared]
            done.append(run(name, options, compared, seed=seed, out=arguments.out / f"{name}_seed{seed}"))
    values = {
        "recipe": compared.recipe,
        "test": TEST.source,
        "twins": {name: summary(done, compared.results) for name, done in runs.items()},
        "difference": {name: difference(runs[PARC], runs[PLAIN], name) for name in compared.results},
    }
    record = arguments.record or RECORDS / f"{compared.record}.json"
    write_record(record, compared.record, values, seed=None, threads=THREADS)
    print(json.dumps(values, indent=2))


def twin_options(name: str, compared: Comparison) -> list[str]:
    """Return the options that choose a twin. The plain one has no kernels that depend on the size of the image."""
    if name == PARC:
        return []
    model = cast("dict[str, dict[str, object]]", read_recipe(find_recipe(compared.recipe))["model"])
    kwargs = {key: value for key, value in model["kwargs"].items() if key != "img_size"}
    return ["--model.name", name, "--model.kwargs", json.dumps(kwargs)]


def run(name: str, options: Sequence[str], compared: Comparison, *, seed: int, out: Path) -> dict[str, Any]:
    """Train a twin, unless that was done before with the same options, and test it."""
    trained = train(compared.recipe, out, options, seed=seed)
    checkpoint = out / "best.ckpt"
    network, spec = open_checkpoint(checkpoint)
    if spec.backbone != name:
        raise RuntimeError(f"{checkpoint} has the backbone {spec.backbone}, not {name}")
    cost = count(network, size=spec.preprocessing.size)
    scalars = evaluate(checkpoint, TEST, threads=THREADS).score.scalars
    results = {name: scalars[name] for name in compared.results}
    return {**trained, "seed": seed, "params": cost.params, "madds": cost.madds, **results}


def summary(runs: Sequence[Mapping[str, Any]], results: Sequence[str]) -> dict[str, object]:
    """Return the mean of every result and the numbers of every seed."""
    means = {name: statistics.fmean(one[name] for one in runs) for name in results}
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
