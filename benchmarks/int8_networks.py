"""Train the networks on CIFAR-10 that the benchmarks of INT8 quantize.

    OMP_NUM_THREADS=1 python benchmarks/int8_networks.py --out DIR

A training that is finished in DIR is not repeated; one that was cut off goes on. The trainings are short, because the
benchmarks compare each network with itself: they are not the best that these networks reach. The data are
../shared/data/cifar10, tar shards of JPEG copies, of which the last 1,000 training images choose the epoch.
"""

import argparse
import shutil
from pathlib import Path

from cifar10 import hold_out
from trainings import train

RECIPE = "classify/cifar10_parcnet_xs"
SEED = 0
NETWORKS = {
    "convnext_atto": ("convnext_atto", {"patch_size": 2}, 32, 8),
    # With its usual stride of 32, the last maps of a picture of 32 pixels would be a single pixel.
    "mobilenetv2": ("mobilenetv2_100", {"output_stride": 16}, 32, 5),
    # At 64 pixels, the last maps are 4 pixels wide, the least that ParC takes.
    "parc_convnext_atto": (
        "parc_convnext_xt",
        {"img_size": 64, "patch_size": 2, "depths": [2, 2, 6, 2], "dims": [40, 80, 160, 320]},
        64,
        2,
    ),
}
"""Name -> timm's name, keywords, side of the input in pixels, and epochs."""


def main() -> None:
    """Train what is still to train."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder of the trainings")
    out: Path = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    if not (data := out / "data").is_dir():
        begun = out / "data.part"
        shutil.rmtree(begun, ignore_errors=True)
        hold_out(begun)
        begun.rename(data)
    for name in NETWORKS:
        print(name, train(RECIPE, out / name, options(name, data), seed=SEED), flush=True)


def options(name: str, data: Path) -> list[str]:
    """Return the options of a network's training."""
    model, keywords, side, epochs = NETWORKS[name]
    augment = "{crop: pad, padding: 4, flip: 0.5}"
    return [
        f"--data={data}",
        f"--model.name={model}",
        f"--model.kwargs={keywords}",
        f"--task.augment={augment}",
        f"--data.preprocessing.size=[{side},{side}]",
        f"--trainer.max_epochs={epochs}",
        "--trainer.precision=32-true",
    ]


if __name__ == "__main__":
    main()
