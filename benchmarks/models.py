"""Measure what the ParC networks cost: ONNX Runtime on one thread, and with `--training` a training step in torch.

    OMP_NUM_THREADS=1 python benchmarks/models.py
    OMP_NUM_THREADS=2 python benchmarks/models.py --training

Each comparison runs its two sides in turns in one process, so that other load on the machine slows both down. A speedup
is the time of theirs divided by the time of ours, see `parckit.measure.interleaved`.

As in the papers' own graphs, an unfused export holds constant kernels, appends the wrapped ends to the map, and leaves
norms and all else to ONNX Runtime's optimizations, which are all on for both sides. It is what torch's exporter writes;
ours is `parckit export`. Networks of other families go through `parckit export` too.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from copy import deepcopy
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
from rich.console import Console
from rich.table import Table
from torch import nn

import parckit.models  # noqa: F401  # registers the models
from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert.onnx import convert
from parckit.layers import AxisConv2d, Form
from parckit.measure import cost
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record
from parckit.models import fuse
from parckit.networks import head_of
from parckit.runtimes.onnxruntime import load_graph
from parckit.tasks.allocator import keep_freed_memory

RECORDS = Path(__file__).parent / "records"
SEED = 0
OPSET = 18
BATCH = 16
"""Images of a training step."""
SGEMM_SIDE = 2048
"""Three such matrices (48 MB) are beyond the caches, and one product takes a tenth of a second."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two exported networks whose speed is compared.

    Attributes:
        ours: fused and exported by parckit.
        theirs: another network, exported alike; the same name means the unfused export of ours.
        size: side of the image, pixels.
        form: in which our convolutions along an axis leave torch.
    """

    ours: str
    theirs: str
    size: int
    form: Form = "auto"


COMPARISONS = (
    Comparison(ours="parcnet_s", theirs="parcnet_s", size=256),
    Comparison(ours="parcnetv2_xt", theirs="parcnetv2_xt", size=224),
    Comparison(ours="parc_mobilenetv2", theirs="mobilenetv2_100", size=224),
    # In both forms, since layer norms keep the map out of the blocked layout that speaks for convolutions elsewhere.
    Comparison(ours="parc_convnext_xt", theirs="convnext_xt", size=224, form="matmul"),
    Comparison(ours="parc_convnext_xt", theirs="convnext_xt", size=224),
    Comparison(ours="parcnet_s", theirs="mobilevit_s", size=256),
)
TRAINED = (("parcnet_s", 256), ("parcnetv2_xt", 224))


def main() -> None:
    """Run, show and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--training", action="store_true", help="time training steps instead of exported graphs")
    parser.add_argument("--seconds", type=float, default=60, help="per comparison")
    arguments = parser.parse_args()
    # The exporter's notes on operators that it replaces.
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    if arguments.training:
        threads = int(os.environ.get("OMP_NUM_THREADS", "2"))
        torch.set_num_threads(threads)
        keep_freed_memory()  # as `parckit train` does
        rows = [row for name, size in TRAINED for row in training_rows(name, size, seconds=arguments.seconds)]
        name = "models_training"
    else:
        threads = 1
        with tempfile.TemporaryDirectory() as folder:
            rows = [inference_row(pair, Path(folder), seconds=arguments.seconds) for pair in COMPARISONS]
        name = "models"
    show(rows)
    write_record(RECORDS / f"{name}.json", name, {"comparisons": rows}, seed=SEED, threads=threads)
    print(json.dumps(rows, indent=2))


def inference_row(pair: Comparison, folder: Path, *, seconds: float) -> dict[str, object]:
    """Compare two exported graphs."""
    ours = export(pair.ours, folder, size=pair.size, form=pair.form)
    theirs = export(pair.theirs, folder, size=pair.size, form="auto" if pair.theirs != pair.ours else None)
    image = np.random.default_rng(SEED).standard_normal((1, 3, pair.size, pair.size), np.float32)
    times = interleave({"ours": inference(ours, image), "theirs": inference(theirs, image)}, seconds=seconds)
    return {**asdict(pair), **compared(times), "bytes": [ours.stat().st_size, theirs.stat().st_size]}


def inference(path: Path, image: np.ndarray) -> Callable[[], object]:
    """Return a function that runs a graph once."""
    graph = load_graph(path, threads=1)
    (feed,) = graph.get_inputs()
    return lambda: graph.run(None, {feed.name: image})


def export(name: str, folder: Path, *, size: int, form: Form | None) -> Path:
    """Write a network of fresh weights: fused by parckit in a form, or as it is by torch's exporter."""
    folder = folder / f"{name}_{size}_{form}"
    folder.mkdir(exist_ok=True)
    torch.manual_seed(SEED)
    model = timm.create_model(name).eval()
    if form is not None:
        labels = tuple(map(str, range(model.num_classes)))
        spec = NetworkSpec(backbone=name, labels=labels, preprocessing=Preprocessing(size=(size, size)))
        fused = fuse(model, size=(size, size))
        settings = ExportSettings(onnx=OnnxSettings(opset=OPSET), form=form)
        artefact = convert(fused, spec, decoder=head_of(spec).decoder(spec), folder=folder, settings=settings)
        return folder / artefact.main_file
    for module in model.modules():
        if isinstance(module, AxisConv2d):
            module.form = "conv"
    path, image = folder / "unfused.onnx", torch.zeros(1, 3, size, size)
    torch.onnx.export(model, (image,), path, dynamo=True, opset_version=OPSET, external_data=False, verbose=False)
    return path


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


def show(rows: Sequence[Mapping[str, Any]]) -> None:
    """Print a table."""
    table = Table(title="how many times faster ours is", box=None)
    for column in ("ours / theirs", "ms", "speedup", "95 %"):
        table.add_column(column, justify="left" if column == "ours / theirs" else "right", no_wrap=True)
    for row in rows:
        theirs = "unfused" if row["theirs"] == row["ours"] else row["theirs"]
        form = "" if row.get("form", "auto") == "auto" else f" ({row['form']})"
        table.add_row(
            f"{row['ours']}{form} / {theirs}, {row['size']}",
            f"{row['ours_ms']:.2f} / {row['theirs_ms']:.2f}",
            f"{row['speedup']:.3f}",
            f"{row['low']:.3f} to {row['high']:.3f}",
        )
    Console(width=120).print(table)


if __name__ == "__main__":
    main()
