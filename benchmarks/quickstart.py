"""Run `parckit quickstart` and record what it found.

python benchmarks/quickstart.py --out DIR [--task detect]
"""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from parckit.measure.records import write_record

RECORDS = Path(__file__).parent / "records"
NAMES = {"classify": "quickstart", "detect": "quickstart_detect"}
"""Task -> name of its record."""


def main() -> None:
    """Run and record."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the quickstart")
    parser.add_argument("--task", choices=[*NAMES], default="classify", help="task of the quickstart")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="one run each")
    args = parser.parse_args()
    runs: dict[str, object] = {}
    for seed in args.seeds:
        out = args.out / f"seed{seed}"
        command = [sys.executable, "-m", "parckit.cli.main", "quickstart", "--task", args.task, "--out", str(out)]
        command += ["--seed", str(seed)]
        subprocess.run(command, check=True)
        runs[f"seed{seed}"] = json.loads((out / "summary.json").read_text(encoding="utf-8"))
    # The recipe trains with one thread, and the latency is that of one.
    name = NAMES[args.task]
    write_record(RECORDS / f"{name}.json", name, {"runs": runs}, seed=args.seeds[0], threads=1)
    print(json.dumps(runs, indent=2))


if __name__ == "__main__":
    main()
