"""Train on 1,000 pictures twice, with `classify/finetune_small` and with settings of ImageNet, and record both.

    OMP_NUM_THREADS=1 python benchmarks/finetune.py

The pictures are ../shared/data/cifar10_mini.zip: 900 to train on, 100 to choose the epoch, 300 to test. Both start from
fresh weights, for those of the package have seen these pictures. The two trainings run side by side.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path

from parckit.measure.evaluation import evaluate
from parckit.measure.records import write_record

RECIPE = "classify/finetune_small"
PICTURES = Path("../shared/data/cifar10_mini.zip")
RECORD = Path(__file__).parent / "records" / "finetune.json"
SEED = 0
THREADS = int(os.environ.get("OMP_NUM_THREADS", os.cpu_count() or 1))

COMMON = (
    "--model.name=parcnet_xxs",
    "--model.kwargs={stem_stride: 2, drop_rate: 0.2, block_drop_rate: 0.0}",
    "--model.weights=null",
    "--data.preprocessing.size=[32,32]",
    "--trainer.max_epochs=60",
)
SETTINGS = {
    "finetune_small": (),
    "imagenet": (  # those of classify/imagenet_parcnet_s and of the ParCNetV2 recipes' augmentation
        "--model.optimizer.lr=4e-3",
        "--model.schedule.warmup=3000",
        "--model.schedule.warmup_unit=steps",
        "--task.mixing={mixup: 0.8, cutmix: 1.0}",
        "--data.batch_size=128",
        "--task.augment.scale=[0.08,1]",
        "--task.augment.policy=rand-m9-mstd0.5-inc1",
        "--task.augment.erasing=0.25",
        "--ema={decay: 0.9998, ramp: false}",
    ),
}


def main() -> None:
    """Train both, then test both."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "pictures"
        with zipfile.ZipFile(PICTURES) as archive:
            archive.extractall(source)
        started = time.perf_counter()
        trainings = {name: train(source, Path(folder) / name, SETTINGS[name]) for name in SETTINGS}
        for name, training in trainings.items():
            if training.wait() != 0:
                raise RuntimeError(f"the training {name} failed")
        seconds = round(time.perf_counter() - started)
        values = {
            "recipe": RECIPE,
            "options_of_both": COMMON,
            "options": SETTINGS,
            "seconds_of_both_side_by_side": seconds,
            "top1": {
                name: evaluate(Path(folder) / name / "best.ckpt", str(source)).score.scalars["top1"]
                for name in SETTINGS
            },
        }
    print(values)
    write_record(RECORD, "finetune", values, seed=SEED, threads=THREADS)


def train(source: Path, out: Path, options: tuple[str, ...]) -> subprocess.Popen[bytes]:
    """Start one training."""
    command = ["train", "--config", RECIPE, *COMMON, *options, f"--data={source}", f"--out={out}", f"--seed={SEED}"]
    quiet = "--trainer.enable_progress_bar=false"
    return subprocess.Popen([sys.executable, "-m", "parckit.cli.main", *command, quiet])


if __name__ == "__main__":
    main()
