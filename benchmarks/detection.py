"""Measure detection: decoding in numpy, the metric, networks with NMS inside, and training steps.

    OMP_NUM_THREADS=1 python benchmarks/detection.py
    OMP_NUM_THREADS=1 python benchmarks/detection.py --section networks --seconds 120

Every section writes a record of its own. Where two sides are compared, they run in turns in one process
(`parckit.measure.interleaved`). A speedup is the time of theirs divided by the time of ours. All weights are random.
For the networks, the score of the background is raised until no box, or about 1,000 pairs of prior and class,
pass the threshold of 0.01.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from time import perf_counter
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torchvision.models.detection import ssdlite320_mobilenet_v3_large

from parckit.contract import NetworkSpec, OutputSpec, Preprocessing
from parckit.data import Objects, Scene
from parckit.deploy import ExportSettings, export_bundle
from parckit.deploy.convert.onnx import write_graph
from parckit.measure.detection import DetectionMetric
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record
from parckit.models import fuse
from parckit.networks import build_network
from parckit.networks.head_settings import read_head_settings
from parckit.networks.ssd import SsdSettings
from parckit.processing import BoxPrediction, Geometry, SsdDecoder, make_decoder
from parckit.runtimes import open_session
from parckit.runtimes.onnxruntime import load_graph
from parckit.tasks.allocator import keep_freed_memory
from parckit.tasks.detect import Detect

RECORDS = Path(__file__).parent / "records"
SEED = 0
SIDE = 320
SIZE = (SIDE, SIDE)
WHOLE = Geometry(picture_size=SIZE, input_size=SIZE, scale=(1.0, 1.0), offset=(0.0, 0.0))
CLASSES = 80
CANDIDATES = 1000
PICTURES, OBJECTS, ANSWERS = 5000, 7, 100
"""Pictures of COCO's validation, about as many objects as one has, and the boxes of an answer that COCO looks at."""
BATCH = 8
"""Images of a training step."""
BOXES = 5
"""Objects of a training image."""
LEAST = 0.01
"""Threshold of the graphs with NMS inside."""
TINYDETS: Mapping[str, Mapping[str, object]] = {
    "parcnet_xs": {"img_size": 64, "stem_stride": 2, "output_stride": 16},
    "mobilenetv2_050": {},
    "parc_resnet10t": {"img_size": SIDE, "channels": [24, 48, 96, 192], "stem_width": 16},
}
"""Backbones of the small detector, and their keywords: the first one is that of `detect/finetune_small_tinydet`, the
last one that of `detect/digit_scenes_tinydet`."""


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--section", choices=[*SECTIONS], help="only this one")
    parser.add_argument("--seconds", type=float, default=60, help="per comparison")
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    torch.set_num_threads(threads)
    keep_freed_memory()  # as `parckit train` does
    for name, measure in SECTIONS.items():
        if arguments.section in (None, name):
            values = measure(arguments.seconds)
            print(name, json.dumps(values, indent=2), flush=True)
            record = f"detection_{name}"
            write_record(RECORDS / f"{record}.json", record, values, seed=SEED, threads=threads)


def measure_decoding(seconds: float) -> dict[str, object]:
    """Time the decoder of SSD on 1,000 candidates, with the threshold of an answer and with lower ones."""
    rng = np.random.default_rng(SEED)
    settings = read_head_settings(SsdSettings, ssd_spec("parcnet_s")).priors
    count = len(settings.priors(SIZE))
    logits = np.zeros((1, count, 1 + CLASSES), np.float32)
    logits[..., 0] = 20
    logits[0, rng.choice(count, CANDIDATES, replace=False)] = 3 * rng.standard_normal((CANDIDATES, 1 + CLASSES))
    outputs = [logits, rng.standard_normal((1, count, 4)).astype(np.float32) / 2]
    shares = torch.from_numpy(logits).softmax(dim=2)[..., 1:]
    rows: list[dict[str, object]] = []
    for threshold in (0.3, 0.05, LEAST):
        decoder = SsdDecoder(
            tuple(map(str, range(CLASSES))),
            strides=settings.strides,
            scales=settings.scales,
            ratios=settings.ratios,
            threshold=threshold,
        )
        times = interleave({"decode": lambda decoder=decoder: decoder(outputs, [WHOLE])}, seconds=seconds / 3)["decode"]
        pairs = int((shares > threshold).sum())
        rows.append({"threshold": threshold, "boxes_of_classes": pairs, **milliseconds(times)})
    return {"priors": count, "candidates": CANDIDATES, "classes": CLASSES, "thresholds": rows}


def measure_metric(seconds: float) -> dict[str, object]:
    """Time COCO's metric over as many pictures as its validation has, once."""
    del seconds
    rng = np.random.default_rng(SEED)
    names = tuple(map(str, range(CLASSES)))
    metric, started = DetectionMetric(CLASSES), perf_counter()
    for _ in range(PICTURES):
        truth = random_boxes(rng, OBJECTS)
        # The first answers lie near the objects.
        boxes = np.concatenate([truth + rng.normal(0, 3, truth.shape), random_boxes(rng, ANSWERS - OBJECTS)])
        labels = rng.integers(0, CLASSES, ANSWERS)
        objects = Objects(
            torch.from_numpy(truth), torch.from_numpy(labels[:OBJECTS]), torch.zeros(OBJECTS, dtype=torch.bool)
        )
        answer = BoxPrediction(
            boxes=boxes.astype(np.float32),
            scores=np.sort(rng.random(ANSWERS, np.float32))[::-1].copy(),
            labels=labels,
            names=names,
        )
        metric.update([answer], [Scene(objects, objects)])
    updated = perf_counter()
    scalars = metric.compute()
    computed = perf_counter()
    return {
        "pictures": PICTURES,
        "objects_of_a_picture": OBJECTS,
        "boxes_of_a_picture": ANSWERS,
        "classes": CLASSES,
        "add_seconds": updated - started,
        "compute_seconds": computed - updated,
        "map": float(scalars["map"]),
    }


def measure_networks(seconds: float) -> dict[str, object]:
    """Compare SSD with ParC-Net-S and with MobileViT-S, and time their parts."""
    rows: list[dict[str, object]] = []
    for kind in ("quiet", "busy"):
        with tempfile.TemporaryDirectory() as folder:
            sides = {
                side: ssd_parts(backbone, kind=kind, folder=Path(folder) / side)
                for side, backbone in (("ours", "parcnet_s"), ("theirs", "mobilevit_s"))
            }
            runs = {f"{side} {part}": run for side, parts in sides.items() for part, run in parts.items()}
            times = interleave(runs, seconds=seconds)
        medians = {name: statistics.median(of_run) for name, of_run in times.items()}
        row: dict[str, object] = {"picture": kind, **compared(times["theirs nms inside"], times["ours nms inside"])}
        row["share_of_their_time"] = 1 / cast("float", row["speedup"])
        for side in sides:
            whole, raw, backbone = (medians[f"{side} {part}"] for part in ("nms inside", "raw maps", "backbone"))
            row[side] = {
                "backbone_ms": 1e3 * backbone,
                "head_ms": 1e3 * (raw - backbone),
                "nms_ms": 1e3 * (whole - raw),
                "nms_inside_ms": 1e3 * whole,
                "nms_in_numpy_ms": 1e3 * medians[f"{side} raw maps and numpy"],
            }
        rows.append(row)
    return {"ours": "ssd_parcnet_s", "theirs": "ssd_mobilevit_s", "size": SIDE, "pictures": rows}


def ssd_parts(backbone: str, *, kind: str, folder: Path) -> dict[str, Callable[[], object]]:
    """Export an SSD and its backbone, and return functions that run them once, with and without NMS."""
    folder.mkdir()
    spec = ssd_spec(backbone)
    torch.manual_seed(SEED)
    network = build_network(spec).eval()
    image = np.random.default_rng(SEED).standard_normal((1, 3, *SIZE), np.float32)
    raise_background(network, image, pairs=CANDIDATES if kind == "busy" else 0)
    settings = ExportSettings(nms=True)
    contract = export_bundle(network, spec, out=folder / "bundle", settings=settings)
    raw, inside = (open_session(folder / "bundle", artefact=one.name, threads=1) for one in contract.artefacts)
    decode = make_decoder(raw.decoder, spec, overrides={"threshold": LEAST})
    # The backbone alone, from the same fused network.
    fused = fuse(network, size=SIZE).get_submodule("model.backbone")
    maps = [OutputSpec(name=f"map_{index}", dtype="float32", layout="NCHW", shape=(None,) * 4) for index in range(2)]
    write_graph(fused, folder / "backbone.onnx", image_shape=(3, *SIZE), outputs=maps, settings=settings)
    graph = load_graph(folder / "backbone.onnx", threads=1)
    return {
        "backbone": lambda: graph.run(None, {"image": image}),
        "raw maps": lambda: raw(image),
        "raw maps and numpy": lambda: decode(raw(image), [WHOLE]),
        "nms inside": lambda: inside(image),
    }


@torch.no_grad()
def raise_background(network: nn.Module, image: np.ndarray, *, pairs: int) -> None:
    """Change biases so that about as many pairs of prior and class as wanted pass the threshold."""
    predictors = cast("nn.ModuleList", network.predictors)
    lasts = [cast("nn.Conv2d", getattr(one, "pointwise", one)) for one in predictors]
    for last in lasts:
        last.weight *= 4  # so that scores differ
    logits: Tensor = network(torch.from_numpy(image))[0].double()
    low, high = 0.0, 50.0
    for _ in range(40):
        middle = (low + high) / 2
        logits_now = logits.clone()
        logits_now[..., 0] += middle
        passing = int((logits_now.softmax(dim=2)[..., 1:] > LEAST).sum())
        low, high = (middle, high) if passing > pairs else (low, middle)
    for last in lasts:
        cast("Tensor", last.bias).view(-1, 4 + 1 + CLASSES)[:, 4] += high


def measure_training(seconds: float) -> dict[str, object]:
    """Compare training steps of the small detector with those of torchvision's SSDLite."""
    torch.manual_seed(SEED)
    images = torch.rand(BATCH, 3, *SIZE)
    rng = np.random.default_rng(SEED)
    objects = [
        Objects(
            torch.from_numpy(random_boxes(rng, BOXES)), torch.arange(BOXES) % 3, torch.zeros(BOXES, dtype=torch.bool)
        )
        for _ in range(BATCH)
    ]
    runs = {name: tinydet_step(name, kwargs, images=images, objects=objects) for name, kwargs in TINYDETS.items()}
    times = interleave({**runs, "theirs": ssdlite_step(images, objects)}, seconds=seconds)
    rows = [
        {
            "ours": f"tinydet_{name}",
            "theirs": "ssdlite320_mobilenet_v3_large",
            **compared(times["theirs"], times[name]),
            "images_per_second": BATCH / statistics.median(times[name]),
            "their_images_per_second": BATCH / statistics.median(times["theirs"]),
        }
        for name in runs
    ]
    return {"size": SIDE, "batch": BATCH, "objects_of_an_image": BOXES, "comparisons": rows}


def tinydet_step(
    backbone: str, kwargs: Mapping[str, object], *, images: Tensor, objects: Sequence[Objects]
) -> Callable[[], object]:
    """Return a function that does one training step as `parckit train` does."""
    spec = NetworkSpec(
        task="detect",
        backbone=backbone,
        backbone_kwargs=kwargs,
        head="tinydet",
        labels=("a", "b", "c"),
        preprocessing=Preprocessing(size=SIZE),
    )
    network, task = build_network(spec).train().to(memory_format=torch.channels_last), Detect()
    task.begin(network, spec)
    batch = images.to(memory_format=torch.channels_last)
    scenes = [Scene(one) for one in objects]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        task.loss(network, batch, scenes).backward()
        optimizer.step()

    return step


def ssdlite_step(images: Tensor, objects: Sequence[Objects]) -> Callable[[], object]:
    """Return a function that does one training step of torchvision's detector."""
    network = ssdlite320_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=4).train()
    targets = [{"boxes": one.boxes, "labels": one.labels + 1} for one in objects]
    optimizer = torch.optim.AdamW(network.parameters(), lr=1e-4, fused=True)

    def step() -> None:
        optimizer.zero_grad()
        torch.stack([*network([*images], targets).values()]).sum().backward()
        optimizer.step()

    return step


def ssd_spec(backbone: str) -> NetworkSpec:
    """Return an SSD for as many classes as COCO has."""
    labels = tuple(map(str, range(CLASSES)))
    return NetworkSpec(
        task="detect", backbone=backbone, head="ssd", labels=labels, preprocessing=Preprocessing(size=SIZE)
    )


def random_boxes(rng: np.random.Generator, count: int) -> np.ndarray:
    """Return boxes of 10 to 100 pixels."""
    corners = rng.uniform(0, SIDE - 110, (count, 2))
    return np.concatenate([corners, corners + rng.uniform(10, 100, (count, 2))], axis=1).astype(np.float32)


def milliseconds(times: Sequence[float]) -> dict[str, object]:
    """Return the median and the quartiles of times in milliseconds."""
    low, middle, high = (1e3 * np.quantile(times, share) for share in (0.25, 0.5, 0.75))
    return {"ms": float(middle), "ms_quartiles": [float(low), float(high)], "rounds": len(times)}


def compared(theirs: Sequence[float], ours: Sequence[float]) -> dict[str, object]:
    """Return the speedup of ours, and the medians of both in milliseconds."""
    medians = {"ours_ms": 1e3 * statistics.median(ours), "theirs_ms": 1e3 * statistics.median(theirs)}
    return {**asdict(compare_times(theirs, ours)), **medians, "rounds": len(ours)}


SECTIONS: Mapping[str, Callable[[float], dict[str, object]]] = {
    "decoding": measure_decoding,
    "metric": measure_metric,
    "networks": measure_networks,
    "training": measure_training,
}
"""Name -> what measures for about that many seconds."""


if __name__ == "__main__":
    main()
