"""Train ParC-Net-XS on CIFAR-10, export it, and record accuracy, agreement and time.

    OMP_NUM_THREADS=1 python benchmarks/cifar10.py --out DIR [--processes 2] [--ship]

The training is `parckit train`, by default in two processes of one thread each, since two threads wait for each other
at every operation. Run again with the same DIR it resumes a training that was cut off, and what is finished is not
repeated; the record then says so. The data are ../shared/data/cifar10, tar shards of JPEG copies, of which the last
1,000 training images choose the epoch.
The weights are also written with matrices and kernels in half precision, norms and biases as they are, and their
accuracy is recorded beside that of the checkpoint; `--ship` makes them those of the package, `parcnet_xs.cifar10`.
"""

import argparse
import hashlib
import json
import os
import resource
import shlex
import shutil
import subprocess
import sys
import tarfile
import time
from dataclasses import asdict
from pathlib import Path

from parckit.contract import to_plain
from parckit.contract.shipped import WEIGHTS
from parckit.deploy import export
from parckit.measure.environment import describe
from parckit.measure.evaluation import EvaluationData, evaluate
from parckit.measure.latency import benchmark
from parckit.measure.records import write_record
from parckit.networks import open_checkpoint, save_weights

RECIPE = "classify/cifar10_parcnet_xs"
DATA = "../shared/data/cifar10"
RECORD = Path(__file__).parent / "records" / "cifar10_parcnet_xs.json"
SHIPPED = "parcnet_xs.cifar10"
SEED = 0
HELD_OUT = 1000


def main() -> None:
    """Run what is still to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="checkpoints and intermediate results")
    parser.add_argument("--processes", type=int, default=2, help="that train together")
    parser.add_argument("--ship", action="store_true", help="put the weights into the package")
    arguments = parser.parse_args()
    out: Path = arguments.out
    out.mkdir(parents=True, exist_ok=True)
    if not (out / "train.json").is_file():
        train(out, processes=arguments.processes)
    training = json.loads((out / "train.json").read_text(encoding="utf-8"))
    checkpoint, bundle = out / "run" / "best.ckpt", out / "bundle"
    half = out / f"{SHIPPED}.safetensors"
    save_half(checkpoint, half)
    contract = export(checkpoint, bundle)
    (artefact,) = contract.artefacts
    data = EvaluationData(source=DATA, split="test", batch_size=100)
    evaluations = [evaluate(path, data) for path in (checkpoint, bundle, half)]
    scores = [{**evaluation.score.scalars, "images": evaluation.score.images} for evaluation in evaluations]
    values = {
        "recipe": RECIPE,
        **training,
        **dict(zip(("test_torch", "test_onnxruntime", "test_half"), scores, strict=True)),
        "half_sha256": hashlib.sha256(half.read_bytes()).hexdigest(),
        "engines": [evaluation.engine for evaluation in evaluations[:2]],
        "params": contract.params,
        "madds": contract.madds,
        "model_bytes": (bundle / artefact.main_file).stat().st_size,
        "checks": to_plain(artefact.checks),
        "onnxruntime_timings": [asdict(timing) for timing in benchmark(bundle, threads=(1, 2)).timings],
    }
    write_record(RECORD, "cifar10_parcnet_xs", values, seed=SEED, threads=int(training["threads"]))
    print(json.dumps(values, indent=2))
    if arguments.ship:  # the record is written: its commit is the one that was measured
        shutil.copy(half, WEIGHTS)


def save_half(checkpoint: Path, path: Path) -> None:
    """Write a checkpoint's weights, those with two and more dimensions in half precision."""
    model, spec = open_checkpoint(checkpoint)
    for parameter in model.parameters():
        if parameter.ndim > 1:
            parameter.data = parameter.data.half()
    save_weights(model, spec, path)


def hold_out(folder: Path) -> None:
    """Lay out the training shards so that the last images of the last one are the val split."""
    folder.mkdir()
    *whole, last = sorted(Path(DATA).resolve().glob("train-*.tar.gz"))
    for shard in whole:
        (folder / shard.name).symlink_to(shard)
    shutil.copy(Path(DATA) / "classes.txt", folder)
    with tarfile.open(last) as images:
        members = sorted(images.getmembers(), key=lambda member: member.name)
        cut = len(members) - 2 * HELD_OUT  # an image and its label each
        copy_members(images, members[:cut], folder / last.name)
        copy_members(images, members[cut:], folder / "val-0000.tar.gz")


def copy_members(source: tarfile.TarFile, members: list[tarfile.TarInfo], path: Path) -> None:
    """Write a shard of some of another one's files."""
    with tarfile.open(path, "w:gz") as shard:
        for member in members:
            shard.addfile(member, source.extractfile(member))


def train(out: Path, *, processes: int) -> None:
    """Train to the end and note what it took, on the clock since the first start and with all pauses."""
    if not (data := out / "data").is_dir():
        begun_data = out / "data.part"
        shutil.rmtree(begun_data, ignore_errors=True)
        hold_out(begun_data)
        begun_data.rename(data)
    command = ["train", "--config", RECIPE, "--data", str(data), "--out", str(out / "run"), "--seed", str(SEED)]
    command += ["--trainer.devices", str(processes)]
    last = out / "run" / "last.ckpt"
    resumed = last.is_file()
    if resumed:
        command += ["--resume", "auto"]
    begun = out / "begun"
    if not begun.is_file():
        begun.write_text(str(time.time()), encoding="utf-8")
    subprocess.run([sys.executable, "-m", "parckit.cli.main", *command], check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = {
        "train_commit": describe().commit,
        "train_command": shlex.join(["parckit", *command]).replace(str(out), "OUT"),
        "processes": processes,
        "threads": os.environ.get("OMP_NUM_THREADS", os.cpu_count()),
        "train_seconds": round(time.time() - float(begun.read_text(encoding="utf-8"))),
        "last_start_cpu_seconds": round(used.ru_utime + used.ru_stime),
        "resumed": resumed,
    }
    (out / "train.json").write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
