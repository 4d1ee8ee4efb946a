"""Measure what each ingredient of `classify/cifar10_parcnet_xs` gives: it, and it with one thing changed.

    OMP_NUM_THREADS=1 python benchmarks/ingredients.py --out DIR [--jobs 2]

The trainings are short: 10,000 images, 12 epochs, rates that fall to the end like the recipe's. Each runs in one
process, with as many images per step as the recipe's two have. Top-1 is that of the last epoch's weights on 5,000
others; the test images take no part. Run again with the same DIR, it does not repeat what is finished. Only differences
between the rows mean something, and those that are well above what another seed gives.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from parckit.measure.records import write_record

RECIPE = "classify/cifar10_parcnet_xs"
DATA = Path("../shared/data/cifar10")
TRAIN_SHARDS, VAL_SHARD = ("train-0000", "train-0001"), "train-0009"
EPOCHS = 12
BATCH = 2 * 128
RECORD = Path(__file__).parent / "records" / "ingredients.json"
SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))

CHANGES = {
    "the recipe": (),
    "another seed": ("--seed=1",),
    "AdamW for Muon": ("--model.optimizer.name=adamw", "--model.optimizer.options={}", "--model.optimizer.lr=3e-3"),
    "what Muon leaves to AdamW learns at the same rate": ("--model.optimizer.options={nesterov: true}",),
    "images that grow from half their size": ("--data.sizes={start: 0.5, until: 1.0, multiple: 8}",),
    "images upscaled to 64x64, for strides of 2": (
        "--data.preprocessing.size=[64, 64]",
        "--task.augment.padding=8",
        "--model.kwargs={img_size: 64, output_stride: 16, drop_rate: 0.1, block_drop_rate: 0.0}",
    ),
    "no TrivialAugment": ("--task.augment.policy=none",),
    "no erasing": ("--task.augment.erasing=0",),
    "no averaged weights": ("--ema=null",),
}
"""Options that change the recipe. AdamW has the rate that this recipe had before Muon."""


def main() -> None:
    """Run what is still to do."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    lay_out(out / "data")
    folders = [out / f"{number:02}" for number in range(len(CHANGES))]
    with ThreadPoolExecutor(arguments.jobs) as pool:
        results = list(pool.map(partial(trained, data=out / "data"), folders, CHANGES.values()))
    rows = [
        {"change": name, "options": options, **result}
        for (name, options), result in zip(CHANGES.items(), results, strict=True)
    ]
    values = {"recipe": RECIPE, "epochs": EPOCHS, "train_shards": TRAIN_SHARDS, "jobs": arguments.jobs, "rows": rows}
    write_record(RECORD, "ingredients", values, seed=SEED, threads=THREADS)
    print(json.dumps(rows, indent=2))


def lay_out(folder: Path) -> None:
    """Link the shards that the trainings see."""
    folder.mkdir(exist_ok=True)
    links = {name: name for name in ("classes.txt", *(f"{shard}.tar.gz" for shard in TRAIN_SHARDS))}
    for name, target in (links | {"val-0000.tar.gz": f"{VAL_SHARD}.tar.gz"}).items():
        if not (folder / name).exists():
            (folder / name).symlink_to((DATA / target).resolve())


def trained(out: Path, options: tuple[str, ...], *, data: Path) -> dict[str, float]:
    """Train, unless that was done before; return top-1 and loss of the held-out images and the time it took."""
    done = out / "result.json"
    if not done.is_file():
        command = ["train", "--config", RECIPE, f"--data={data}", f"--out={out}", f"--seed={SEED}", "--overwrite"]
        command += [f"--data.batch_size={BATCH}"]
        start = time.perf_counter()
        command += [f"--trainer.max_epochs={EPOCHS}", f"--trainer.check_val_every_n_epoch={EPOCHS}", *options]
        subprocess.run([sys.executable, "-m", "parckit.cli.main", *command], check=True)
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
