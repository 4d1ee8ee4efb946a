"""Measure segmentation: exported networks, time and memory against the size of the image, decoding in numpy.

    OMP_NUM_THREADS=1 python benchmarks/segmentation.py
    OMP_NUM_THREADS=1 python benchmarks/segmentation.py --section networks --seconds 120

Every section writes a record of its own. Where two sides are compared, they run in turns in one process
(`parckit.measure.interleaved`). A speedup is the time of theirs divided by the time of ours. All weights are random,
all graphs run in ONNX Runtime on one thread with one image. What an unfused export is, `models.py` says. Resizing
the logits to the image is no part of the networks.

The share of the global convolutions in the time is what is saved if nothing stands in their place. Memory is what
loading the graph and one run add to a new process.
"""

import argparse
import copy
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import cast

import numpy as np
import torch
from torch import nn

from parckit.contract import Artefact, InputSpec, NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert.onnx import write_graph
from parckit.layers import AxisConv2d, ConstantAxisConv2d
from parckit.measure import cost
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.memory import peak_memory
from parckit.measure.records import write_record
from parckit.models import fuse
from parckit.networks import build_network, head_of
from parckit.processing import Geometry, make_decoder
from parckit.runtimes.onnxruntime import load_graph

RECORDS = Path(__file__).parent / "records"
SEED = 0
OPSET = 18
SIDE = 512
CLASSES = 21
"""Classes of Pascal VOC with the background."""
SIDES = (256, 384, 512, 768, 1024)


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=[*SECTIONS], help="only this one")
    parser.add_argument("--seconds", type=float, default=60, help="per comparison")
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    for name, measure in SECTIONS.items():
        if arguments.section in (None, name):
            values = measure(arguments.seconds)
            print(name, json.dumps(values, indent=2), flush=True)
            record = f"segmentation_{name}"
            write_record(RECORDS / f"{record}.json", record, values, seed=SEED, threads=threads)


def measure_networks(seconds: float) -> dict[str, object]:
    """Compare DeepLabv3 with ParC-Net-S with its unfused export, and with DeepLabv3 with MobileViT-S."""
    rows: list[dict[str, object]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ours = build("parcnet_s", SIDE)
        paths = {
            "ours": export(ours, folder / "ours.onnx", side=SIDE),
            "unfused": export_unfused(ours, folder / "unfused.onnx", side=SIDE),
            "mobilevit_s": export(build("mobilevit_s", SIDE), folder / "mobilevit_s.onnx", side=SIDE),
        }
        times = interleave({side: inference(path, SIDE) for side, path in paths.items()}, seconds=2 * seconds)
    for theirs in ("unfused", "mobilevit_s"):
        row = compared(times[theirs], times["ours"])
        rows.append({"theirs": theirs, **row, "share_of_their_time": 1 / cast("float", row["speedup"])})
    return {"ours": "deeplabv3_parcnet_s", "size": SIDE, "classes": CLASSES, "comparisons": rows}


def measure_sizes(seconds: float) -> dict[str, object]:
    """Time DeepLabv3 with ParC-Net-S at several sizes, with and without its global convolutions, and its memory."""
    rows: list[dict[str, object]] = []
    for side in SIDES:
        network = build("parcnet_s", side)
        madds = [cost.count(one, size=(side, side)).madds for one in (network, without_global(network))]
        fused = fuse(network, size=(side, side))
        with tempfile.TemporaryDirectory() as name:
            paths = {
                "whole": export_fused(fused, Path(name) / "whole.onnx", side=side),
                "rest": export_fused(without_global(fused), Path(name) / "rest.onnx", side=side),
            }
            runs = {kind: inference(path, side) for kind, path in paths.items()}
            times = interleave(runs, seconds=seconds / len(SIDES))
            artefact = described(paths["whole"], side=side)
            memory = peak_memory(Path(name), artefact, spec_of("parcnet_s", side), engine="onnxruntime")
        rest_share = 1 / compare_times(times["whole"], times["rest"]).speedup
        rows.append(
            {
                "size": side,
                **milliseconds(times["whole"]),
                "peak_bytes": memory,
                "madds": madds[0],
                "global_share_of_madds": 1 - madds[1] / madds[0],
                "global_share_of_time": 1 - rest_share,
            }
        )
    return {"network": "deeplabv3_parcnet_s", "classes": CLASSES, "sizes": rows}


def measure_decoding(seconds: float) -> dict[str, object]:
    """Time the decoder: logits to the class of every pixel of a picture as large as the image."""
    spec = spec_of("parcnet_s", SIDE)
    decode = make_decoder(head_of(spec).decoder(spec), spec)
    size = (SIDE, SIDE)
    geometry = Geometry(picture_size=size, input_size=size, scale=(1.0, 1.0), offset=(0.0, 0.0))
    logits = np.random.default_rng(SEED).standard_normal((1, CLASSES, SIDE // 16, SIDE // 16), np.float32)
    times = interleave({"decode": lambda: decode([logits], [geometry])}, seconds=seconds)["decode"]
    return {"logits": list(logits.shape), "size": SIDE, **milliseconds(times)}


def spec_of(backbone: str, side: int) -> NetworkSpec:
    """Return a DeepLabv3 for as many classes as VOC has."""
    return NetworkSpec(
        task="segment",
        backbone=backbone,
        head="deeplabv3",
        labels=tuple(map(str, range(CLASSES))),
        preprocessing=Preprocessing(size=(side, side)),
    )


def build(backbone: str, side: int) -> nn.Module:
    """Build a network of fresh weights."""
    torch.manual_seed(SEED)
    return build_network(spec_of(backbone, side)).eval()


def without_global(network: nn.Module) -> nn.Module:
    """Return a copy with nothing where convolutions along an axis stood."""
    rest = copy.deepcopy(network)
    for path, module in [*rest.named_modules()]:
        if isinstance(module, AxisConv2d | ConstantAxisConv2d):
            rest.set_submodule(path, nn.Identity())
    return rest


def export(network: nn.Module, path: Path, *, side: int) -> Path:
    """Write a network as `parckit export` does, without a description."""
    return export_fused(fuse(network, size=(side, side)), path, side=side)


def export_fused(fused: nn.Module, path: Path, *, side: int) -> Path:
    """Write a fused network. It is changed."""
    outputs = head_of(spec := spec_of("parcnet_s", side)).outputs(spec)
    write_graph(
        fused,
        path,
        image_shape=(3, side, side),
        outputs=outputs,
        settings=ExportSettings(onnx=OnnxSettings(opset=OPSET)),
    )
    return path


def described(path: Path, *, side: int) -> Artefact:
    """Return the description of a file that `export_fused` wrote."""
    head = head_of(spec := spec_of("parcnet_s", side))
    image = InputSpec(shape=(1, 3, side, side))
    return Artefact(
        name=path.stem,
        format="onnx",
        precision="fp32",
        files={path.name: ""},
        input=image,
        outputs=head.outputs(spec),
        decoder=head.decoder(spec),
    )


def export_unfused(network: nn.Module, path: Path, *, side: int) -> Path:
    """Write a network as torch's exporter does."""
    network, image = copy.deepcopy(network), torch.zeros(1, 3, side, side)
    for module in network.modules():
        if isinstance(module, AxisConv2d):
            module.form = "conv"
    torch.onnx.export(network, (image,), path, dynamo=True, opset_version=OPSET, external_data=False, verbose=False)
    return path


def inference(path: Path, side: int) -> Callable[[], object]:
    """Return a function that runs a graph once."""
    graph = load_graph(path, threads=1)
    image = np.random.default_rng(SEED).standard_normal((1, 3, side, side), np.float32)
    (feed,) = graph.get_inputs()
    return lambda: graph.run(None, {feed.name: image})


def milliseconds(times: Sequence[float]) -> dict[str, object]:
    """Return the median and the quartiles of times in milliseconds."""
    low, middle, high = (1e3 * np.quantile(times, share) for share in (0.25, 0.5, 0.75))
    return {"ms": float(middle), "ms_quartiles": [float(low), float(high)], "rounds": len(times)}


def compared(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, object]:
    """Return the speedup of ours, and the medians of both in milliseconds."""
    medians = {"ours_ms": 1e3 * statistics.median(ours), "theirs_ms": 1e3 * statistics.median(theirs)}
    return {**asdict(compare_times(theirs, ours)), **medians, "rounds": len(ours)}


SECTIONS: Mapping[str, Callable[[float], dict[str, object]]] = {
    "networks": measure_networks,
    "sizes": measure_sizes,
    "decoding": measure_decoding,
}
"""Name -> what measures for about that many seconds."""


if __name__ == "__main__":
    main()
