"""Measure a training step of the ParC networks in torch.

    OMP_NUM_THREADS=2 python benchmarks/models_training.py

Each comparison runs its two sides in turns in one process, so that other load on the machine slows both down. A speedup
is the time of theirs divided by the time of ours, see `parckit.measure.interleaved`.
"""

import argparse
import json
import os
import statistics
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict
from functools import partial
from pathlib import Path

import timm
import torch
from torch import nn

import parckit.models  # noqa: F401  # registers the models
from parckit.layers import AxisConv2d, Form
from parckit.measure import cost
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record
from parckit.tasks.allocator import keep_freed_memory

RECORD = Path(__file__).parent / "records" / "models_training.json"
SEED = 0
BATCH = 16
"""Images of a training step."""
SGEMM_SIDE = 2048
"""Three such matrices (48 MB) are beyond the caches, and one product takes a tenth of a second."""
TRAINED = (("parcnet_s", 256), ("parcnetv2_xt", 224))


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="per network")
    arguments = parser.parse_args()
    threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
    torch.set_num_threads(threads)
    keep_freed_memory()  # as `parckit train` does
    rows = [row for name, size in TRAINED for row in training_rows(name, size, seconds=arguments.seconds)]
    print(json.dumps(rows, indent=2))
    write_record(RECORD, "models_training", {"comparisons": rows}, seed=SEED, threads=threads)


def training_rows(name: str, size: int, *, seconds: float) -> list[dict[str, object]]:
    """Compare training steps with those of the papers' form in plain PyTorch, all beside a plain product.

    With the form chosen by shape; as `parckit train` runs them; and, to show how much the form can give at all, with
    nothing where the convolutions along an axis stood.
    """
    torch.manual_seed(SEED)
    model = timm.create_model(name)
    images = torch.randn(BATCH, 3, size, size)
    targets = torch.arange(BATCH)
    step = partial(training_step, model, images=images, targets=targets)
    ours = {
        "form auto": step(form="auto"),
        "as parckit train": step(form="auto", channels_last=True, fused=True),
        "no convolutions along an axis": step(form=None),
    }
    times = interleave({"theirs": step(form="conv"), **ours, "sgemm": sgemm()}, seconds=seconds)
    # A step costs about three passes: forward, gradients of the maps, gradients of the weights.
    multiply_adds = 3 * cost.count(model, size=(size, size)).madds * BATCH
    per_second = SGEMM_SIDE**3 / statistics.median(times["sgemm"])
    return [
        {
            "ours": f"{name}, {side}",
            "theirs": f"{name}, form conv",
            "size": size,
            "batch": BATCH,
            **compared({"ours": times[side], "theirs": times["theirs"]}),
            "sgemm_gflops": 2 * per_second / 1e9,
            "share_of_sgemm": multiply_adds / statistics.median(times[side]) / per_second,
        }
        for side in ours
    ]


def training_step(
    model: nn.Module,
    *,
    form: Form | None,
    images: torch.Tensor,
    targets: torch.Tensor,
    channels_last: bool = False,
    fused: bool = False,
) -> Callable[[], object]:
    """Return a function that runs forward, backward and AdamW once, on a copy of the model.

    Args:
        model: to be copied.
        form: of convolutions along an axis; None: there are none.
        images: of a step.
        targets: their classes.
        channels_last: whether maps have channels innermost.
        fused: whether AdamW is one kernel.
    """
    memory_format = torch.channels_last if channels_last else torch.contiguous_format
    model, images = deepcopy(model).train().to(memory_format=memory_format), images.to(memory_format=memory_format)
    for path, module in list(model.named_modules()):
        if isinstance(module, AxisConv2d) and form is None:
            model.set_submodule(path, nn.Identity())
        elif isinstance(module, AxisConv2d):
            module.form = form
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4, fused=fused)

    def step() -> None:
        optimizer.zero_grad()
        nn.functional.cross_entropy(model(images), targets).backward()
        optimizer.step()

    return step


def sgemm() -> Callable[[], object]:
    """Return a function that multiplies two large float32 matrices: as fast as this machine computes."""
    a, b = torch.randn(2, SGEMM_SIDE, SGEMM_SIDE).unbind()
    return lambda: torch.mm(a, b)


def compared(times: Mapping[str, Sequence[float]]) -> dict[str, object]:
    """Return the speedup of ours, and the medians of both in milliseconds."""
    medians = {f"{side}_ms": statistics.median(times[side]) * 1e3 for side in ("ours", "theirs")}
    return {**asdict(compare_times(times["theirs"], times["ours"])), **medians, "rounds": len(times["ours"])}


if __name__ == "__main__":
    main()
