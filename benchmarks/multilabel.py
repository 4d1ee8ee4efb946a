"""Train `multilabel/finetune_small` on collages with several labels, test it on two engines, and record the numbers.

    OMP_NUM_THREADS=1 python benchmarks/multilabel.py

A collage is a square of four fields. One to four of them hold a picture of ../shared/data/cifar10, the others are grey.
Its labels are the classes of its pictures. The recipe's weights were trained on the training pictures, but have not
seen the test pictures. Thresholds are chosen on the validation collages.
"""

import argparse
import csv
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from PIL import Image

from exported import scalars
from parckit.data import Table, open_table
from parckit.deploy import export
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.records import write_record
from parckit.report.recorded import record_values

RECIPE = "multilabel/finetune_small"
PICTURES = Path("../shared/data/cifar10")
RECORD = Path(__file__).parent / "records" / "multilabel.json"
SIDE = 32
COLLAGES = {"train": ("train-0000.tar.gz", 1000), "val": ("train-0009.tar.gz", 200), "test": ("test-0000.tar.gz", 500)}
"""Split -> the shard that its pictures come from, and the number of collages."""
SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))


def main() -> None:
    """Train, choose thresholds, export, and test with and without the thresholds."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = write_collages(folder)
        started = time.perf_counter()
        train(source, folder / "run")
        seconds = time.perf_counter() - started
        best = folder / "run" / "best.ckpt"
        chosen_on = evaluate(best, EvaluationData(source=str(source), split="val"))
        write_record(folder / "val.json", "eval", record_values(chosen_on, model=best), seed=SEED, threads=THREADS)
        export(best, folder / "bundle", thresholds=folder / "val.json")
        torch, engine = (evaluate(model, str(source)) for model in (best, folder / "bundle"))
        values = {
            "recipe": RECIPE,
            "train_seconds": round(seconds),
            "collages": {split: count for split, (_, count) in COLLAGES.items()},
            "test_torch_threshold_one_half": scalars(torch),
            "test_onnxruntime_best_thresholds": scalars(engine),
        }
    print(values)
    write_record(RECORD, "multilabel", values, seed=SEED, threads=THREADS)


def write_collages(folder: Path) -> Path:
    """Write the collages and the list of their labels."""
    rng = np.random.default_rng(SEED)
    rows: list[tuple[str, str, str]] = []
    for split, (shard, count) in COLLAGES.items():
        table = open_table(str(PICTURES / shard), split="all")
        for number in range(count):
            indices = rng.choice(len(table.targets), size=rng.integers(1, 5), replace=False).tolist()
            name = f"{split}_{number:04}.png"
            paste(table, indices, fields=rng.permutation(4).tolist()).save(folder / name)
            rows.append((name, ";".join(sorted({table.labels[table.targets[index]] for index in indices})), split))
    source = folder / "collages.csv"
    with source.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("path", "labels", "split"), *rows])
    return source


def paste(table: Table, indices: list[int], *, fields: list[int]) -> Image.Image:
    """Return the collage of some pictures."""
    collage = Image.new("RGB", (2 * SIDE, 2 * SIDE), (114, 114, 114))
    for index, field in zip(indices, fields, strict=False):
        collage.paste(table.load(index), (SIDE * (field % 2), SIDE * (field // 2)))
    return collage


def train(source: Path, out: Path) -> None:
    """Train with the recipe as it is."""
    command = ["train", "--config", RECIPE, f"--data={source}", f"--out={out}", f"--seed={SEED}"]
    quiet = "--trainer.enable_progress_bar=false"
    subprocess.run([sys.executable, "-m", "parckit.cli.main", *command, quiet], check=True)


if __name__ == "__main__":
    main()
