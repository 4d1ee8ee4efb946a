"""Train the detectors of the recipes for `digit_scenes`, test them, and record results and times.

    OMP_NUM_THREADS=1 python benchmarks/digit_scenes.py --out DIR [--only tinydet]

A training that is finished in DIR is not repeated. The record holds every network whose training is there.
"""

import argparse
import json
from pathlib import Path
from typing import Any

from parckit.measure.cost import count
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.records import write_record
from parckit.networks import open_checkpoint
from trainings import train

RECIPES = {"tinydet": "detect/digit_scenes_tinydet", "mask_rcnn": "detect/digit_scenes_mask_rcnn"}
RECORD = Path(__file__).parent / "records" / "digit_scenes.json"
SEED = 0
THREADS = 1
"""The recipes train with as many threads, and with a process that paints scenes."""


def main() -> None:
    """Run what is still to do, and record it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--only", choices=[*RECIPES], help="train this network only")
    arguments = parser.parse_args()
    values: dict[str, Any] = {}
    for name, recipe in RECIPES.items():
        path = arguments.out / f"{name}.json"
        if not path.is_file() and arguments.only in (None, name):
            result = run(recipe, arguments.out / name)
            path.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
        if path.is_file():
            values[name] = json.loads(path.read_text(encoding="utf-8"))
    write_record(RECORD, "digit_scenes", values, seed=SEED, threads=THREADS)
    print(json.dumps(values, indent=2))


def run(recipe: str, out: Path) -> dict[str, object]:
    """Train with a recipe as it is, and test the best epoch."""
    trained = train(recipe, out, seed=SEED)
    network, spec = open_checkpoint(out / "best.ckpt")
    cost = count(network, size=spec.preprocessing.size)
    scalars = evaluate(out / "best.ckpt", EvaluationData(source="digit_scenes", split="test")).score.scalars
    test = {name: round(value, 2) for name, value in scalars.items()}
    return {**trained, "params": cost.params, "madds": cost.madds, "test": test}


if __name__ == "__main__":
    main()
