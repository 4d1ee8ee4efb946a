"""Run `parckit quickstart` and record what it found.

    python benchmarks/quickstart.py --out DIR [--task detect] [--seeds 0] [--ship]

With `--task segment`, the network of the first seed is tested in half precision, too. `--ship` puts these weights into
the package.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from pathlib import Path

from cifar10 import save_half
from parckit.contract.shipped import WEIGHTS
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.records import write_record

RECORDS = Path(__file__).parent / "records"
NAMES = {"classify": "quickstart", "detect": "quickstart_detect", "segment": "quickstart_segment"}
"""Task -> name of its record."""
SHIPPED = "upernet_parc_resnet10t.digit_scenes"


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the quickstart")
    parser.add_argument("--task", choices=[*NAMES], default="classify", help="task of the quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one run each")
    parser.add_argument("--ship", action="store_true", help="put the weights of the segmenter into the package")
    args = parser.parse_args()
    if args.ship and args.task != "segment":
        parser.error("--ship needs --task segment")
    runs: dict[str, object] = {}
    for seed in args.seeds:
        out = args.out / f"seed{seed}"
        command = [sys.executable, "-m", "parckit.cli.main", "quickstart", "--task", args.task, "--out", str(out)]
        command += ["--seed", str(seed)]
        subprocess.run(command, check=True)
        runs[f"seed{seed}"] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    values: dict[str, object] = {"runs": runs}
    half = args.out / f"{SHIPPED}.safetensors"
    if args.task == "segment":
        save_half(args.out / f"seed{args.seeds[0]}" / "train" / "best.ckpt", half)
        values["half"] = test_half(half)
    # The recipe trains with one thread, and the latency is that of one.
    name = NAMES[args.task]
    write_record(RECORDS / f"{name}.json", name, values, seed=args.seeds[0], threads=1)
    print(json.dumps(values, indent=2))
    if args.ship:  # the record is written: its commit is the one that was measured
        shutil.copy(half, WEIGHTS)


def test_half(weights: Path) -> dict[str, object]:
    """Return the results of weights in half precision on the test scenes, and what identifies the file."""
    scalars = evaluate(weights, EvaluationData(source="digit_scenes", split="test")).score.scalars
    return {
        "test": {name: round(value, 2) for name, value in scalars.items()},
        "bytes": weights.stat().st_size,
        "sha256": hashlib.sha256(weights.read_bytes()).hexdigest(),
    }


if __name__ == "__main__":
    main()
