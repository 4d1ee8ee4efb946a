"""Follow docs/train-own-images.md with pictures that no weights have seen, and record how well and how long.

    python benchmarks/own_images.py

The pictures are cells cut out of BCCD (../shared/data/bccd.zip, MIT licence): of each microscope picture all white
cells and platelets and the first red cell, in BCCD's own splits, some of whose pictures show the same place.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from collections import Counter
from pathlib import Path

from PIL import Image

from parckit.measure.records import write_record

DATA = Path("../shared/data/bccd.zip")
RECIPE = "classify/finetune_small"
RECORD = Path(__file__).parent / "records" / "own_images.json"
SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))
FREQUENT = "RBC"


def main() -> None:
    """Cut, then run the page's commands."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cells, run, record = folder / "cells", folder / "run", folder / "eval.json"
        counts = {split: dict(sorted(cut_cells(split, cells / split).items())) for split in ("train", "val", "test")}
        commands = {
            "check": ["data", "check", str(cells)],
            "train": ["train", "--config", RECIPE, "--data", str(cells), "--out", str(run), "--seed", str(SEED)],
            "eval": ["eval", str(run / "best.ckpt"), "--data", str(cells), "--record", str(record)],
            "export": ["export", str(run / "best.ckpt"), "--size", "96x96", "--out", str(run / "bundle")],
        }
        seconds = {step: run_verb(command) for step, command in commands.items()}
        results = json.loads(record.read_text(encoding="utf-8"))["values"]
    values = {
        "recipe": RECIPE,
        "cells": counts,
        "seconds": seconds,
        "minutes": round(sum(seconds.values()) / 60, 1),
        "top1": results["scalars"]["top1"],
        "images": results["images"],
        "confusion": results["tables"]["confusion"],
    }
    write_record(RECORD, "own_images", values, seed=SEED, threads=THREADS)
    print(json.dumps(values, indent=2))


def cut_cells(split: str, out: Path) -> Counter[str]:
    """Write the cells of a split as `out/CLASS/NUMBER.png`; return how many of each class."""
    counts: Counter[str] = Counter()
    with zipfile.ZipFile(DATA) as archive:
        boxes = json.loads(archive.read(f"annotations/instances_{split}.json"))
        names = {kind["id"]: kind["name"] for kind in boxes["categories"]}
        for picture in boxes["images"]:
            with archive.open(f"JPEGImages/{picture['file_name']}") as file:
                pixels = Image.open(file).convert("RGB")
            annotations = [box for box in boxes["annotations"] if box["image_id"] == picture["id"]]
            frequent = [box for box in annotations if names[box["category_id"]] == FREQUENT]
            for box in [*(box for box in annotations if box not in frequent), *frequent[:1]]:
                name = names[box["category_id"]]
                left, top, width, height = box["bbox"]
                (out / name).mkdir(parents=True, exist_ok=True)
                pixels.crop((left, top, left + width, top + height)).save(out / name / f"{counts[name]:03}.png")
                counts[name] += 1
    return counts


def run_verb(arguments: list[str]) -> float:
    """Run parckit; return the seconds that it took."""
    start = time.perf_counter()
    done = subprocess.run([sys.executable, "-m", "parckit.cli.main", *arguments], check=False)
    if done.returncode and arguments[:2] != ["data", "check"]:  # which ends with 1 if it finds something
        raise SystemExit(f"parckit {arguments[0]} failed")
    return round(time.perf_counter() - start, 1)


if __name__ == "__main__":
    main()
