"""Train ParC-Net-XS on CIFAR-10, and record accuracy, time and the exported bundle's agreement.

    python benchmarks/cifar10.py --out DIR

The training goes through `parckit train`; run again with the same DIR, it resumes a training that was cut off, and what
is finished is not repeated.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path

RECIPE = "classify/cifar10_parcnet_xs"


def main() -> None:
    """Run what is still to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and intermediate results")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "train.json").is_file():
        train(out)


def train(out: Path) -> None:
    """Train to the end and note what it took."""
    commit = subprocess.run(["git", "rev-parse", "HEAD"], capture_output=True, text=True, check=True).stdout.strip()
    command = ["train", "--config", RECIPE, "--out", str(out / "run"), "--seed", "0"]
    last = out / "run" / "last.ckpt"
    if last.is_file():
        command += ["--resume", str(last)]
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "parckit.cli.main", *command], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "train_commit": commit,
        "command": "parckit " + " ".join(command),
        "threads": os.environ.get("OMP_NUM_THREADS"),
        "train_seconds": round(time.perf_counter() - start),
        "train_cpu_seconds": round(used.ru_utime + used.ru_stime),
        "resumed": last.is_file() and "--resume" in command,
    }
    (out / "train.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
