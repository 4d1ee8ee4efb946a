"""Measure what each ingredient of `classify/cifar10_parcnet_xs` gives: the recipe, and the recipe without each of them.

    OMP_NUM_THREADS=2 python benchmarks/ingredients.py --out DIR

Every training is short and of the same number of epochs, and its rates fall to the end like the recipe's. Top-1 is that
of the last epoch's weights on the 5,000 images that `parckit train` holds out; the test images take no part. Run again
with the same DIR, it does not repeat what is finished. Only differences between the rows mean something, and over many
epochs some of them shrink and others grow.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from pathlib import Path

from parckit.measure.records import write_record

RECIPE = "classify/cifar10_parcnet_xs"
DATA = "../shared/data/cifar10"
RECORD = Path(__file__).parent / "records" / "ingredients.json"
SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))

WITHOUT = {
    "nothing": (),
    "muon": ("--model.optimizer.name=adamw", "--model.optimizer.options={}", "--model.optimizer.lr=3e-3"),
    "growing images": ("--data.sizes=null",),
    "trivial augment and erasing": ("--data.augment.policy=none", "--data.augment.erasing=0"),
    "plain images at the end": ("--data.augment.until=1",),
    "averaged weights": ("--ema=null",),
    "bfloat16": ("--trainer.precision=32-true",),
}
"""Options that take an ingredient out of the recipe; AdamW has the rate of this recipe's version before Muon."""


def main() -> None:
    """Run what is still to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--epochs", type=int, default=6, help="of every training")
    arguments = parser.parse_args()
    rows = [
        {"without": name, **trained(arguments.out / name.replace(" ", "_"), options, epochs=arguments.epochs)}
        for name, options in WITHOUT.items()
    ]
    values = {"recipe": RECIPE, "epochs": arguments.epochs, "options": WITHOUT, "rows": rows}
    write_record(RECORD, "ingredients", values, seed=SEED, threads=THREADS)
    print(json.dumps(rows, indent=2))


def trained(out: Path, options: tuple[str, ...], *, epochs: int) -> dict[str, float]:
    """Train, unless that was done before; return top-1 and loss of the held-out images and the time it took."""
    done = out / "result.json"
    if not done.is_file():
        command = ["train", "--config", RECIPE, f"--data={DATA}", f"--out={out}", f"--seed={SEED}", "--overwrite"]
        start = time.perf_counter()
        subprocess.run(
            [sys.executable, "-m", "parckit.cli.main", *command, f"--trainer.max_epochs={epochs}", *options], check=True
        )
        seconds = round(time.perf_counter() - start)
        last = validations(out)[-1]
        result = {"top1": float(last["val_top1"]), "loss": float(last["val_loss"]), "seconds": seconds}
        done.write_text(json.dumps(result) + "\n", encoding="utf-8")
    return json.loads(done.read_text(encoding="utf-8"))


def validations(out: Path) -> list[dict[str, str]]:
    """Return the validations that the newest run in a folder logged."""
    newest = max(out.glob("logs/*/metrics.csv"), key=lambda path: path.stat().st_mtime)
    with newest.open(encoding="utf-8", newline="") as file:
        return [row for row in csv.DictReader(file) if row["val_top1"]]


if __name__ == "__main__":
    main()
