"""Measure what the ParC networks cost in several engines: one image, one thread.

    make test-engines  # installs the engines into .venv-engines
    OMP_NUM_THREADS=1 .venv-engines/bin/python benchmarks/models.py

A comparison has two networks. Both run in all engines, all in turns in one process, so that other load on the machine
slows all of them down. A speedup is the time of theirs divided by the time of ours in the same engine, see
`parckit.measure.interleaved`. The best engine of ours is also compared with the best engine of theirs. The weights are
random, and no engine's time depends on them.

As in the papers' own graphs, an unfused network holds constant kernels, appends the wrapped ends to the map, and leaves
norms and all else to the engine's optimizations, which are on for both sides. It is what torch's exporter writes; each
engine's converter starts from this file, too. Ours is `parckit export`, and so are networks of other families.

benchmarks/layers.py tells where the time goes.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import timm
import torch

import parckit.models  # registers the models
from parckit.contract import NetworkSpec, ParckitError, Preprocessing, place_artefact
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert import Source, load_converter, source_of
from parckit.layers import AxisConv2d
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.records import write_record
from parckit.runtimes import find_engine
from parckit.runtimes.engines import load_engine

RECORD = Path(__file__).parent / "records" / "models.json"
SEED = 0
OPSET = 18
ENGINES = ("onnxruntime", "openvino", "mnn", "ncnn")
UNFUSED = "unfused"


@dataclass(frozen=True, kw_only=True, slots=True)
class Comparison:
    """Two networks whose speed is compared.

    Attributes:
        ours: name of the model, exported by parckit.
        theirs: name of another model; `UNFUSED` for ours as torch's exporter writes it.
        size: side of the image, pixels.
    """

    ours: str
    theirs: str
    size: int


COMPARISONS = (
    Comparison(ours="parcnet_s", theirs=UNFUSED, size=256),
    Comparison(ours="parcnetv2_xt", theirs=UNFUSED, size=224),
    Comparison(ours="parc_mobilenetv2", theirs="mobilenetv2_100", size=224),
    Comparison(ours="parc_convnext_xt", theirs="convnext_xt", size=224),
    Comparison(ours="parcnet_s", theirs="mobilevit_s", size=256),
)


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=120, help="per comparison")
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its notes on operators that it replaces
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    rows: list[dict[str, object]] = []
    for pair in COMPARISONS:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(compare_pair(pair, Path(folder), seconds=arguments.seconds, threads=threads))
        print(json.dumps(rows[-1], indent=2), flush=True)
    write_record(RECORD, "models", {"comparisons": rows}, seed=SEED, threads=threads)


def compare_pair(pair: Comparison, folder: Path, *, seconds: float, threads: int) -> dict[str, object]:
    """Compare two networks in every engine, and the best engine of each."""
    runs: dict[str, Callable[[], object]] = {}
    refused: dict[str, str] = {}
    for side in ("ours", "theirs"):
        unfused = side == "theirs" and pair.theirs == UNFUSED
        name = pair.ours if side == "ours" or unfused else pair.theirs
        (folder / side).mkdir()
        source = (
            unfused_source(name, pair.size, folder / side) if unfused else fused_source(name, pair.size, folder / side)
        )
        for engine in ENGINES:
            try:
                runs[f"{side} {engine}"] = inference(source, engine, folder / side, threads=threads)
            except ParckitError as error:
                refused[f"{name} {engine}"] = str(error)
    times = interleave(runs, seconds=seconds)
    engines = [engine for engine in ENGINES if f"ours {engine}" in times and f"theirs {engine}" in times]
    best = {side: fastest(times, side) for side in ("ours", "theirs")}
    return {
        **asdict(pair),
        "engines": {engine: compared(times, engine, engine) for engine in engines},
        "best": {**best, **compared(times, best["ours"], best["theirs"])},
        "refused": refused,
        "rounds": len(next(iter(times.values()))),
    }


def fastest(times: Mapping[str, Sequence[float]], side: str) -> str:
    """Return the engine with the smallest median."""
    medians = {key.split()[1]: statistics.median(seconds) for key, seconds in times.items() if key.startswith(side)}
    return min(medians, key=lambda engine: medians[engine])


def compared(times: Mapping[str, Sequence[float]], ours: str, theirs: str) -> dict[str, float]:
    """Return the speedup of ours, and the medians of both in milliseconds, each in an engine."""
    sides = {"ours": times[f"ours {ours}"], "theirs": times[f"theirs {theirs}"]}
    medians = {f"{side}_ms": statistics.median(seconds) * 1e3 for side, seconds in sides.items()}
    return {**asdict(compare_times(sides["theirs"], sides["ours"])), **medians}


def inference(source: Source, engine: str, bundle: Path, *, threads: int) -> Callable[[], object]:
    """Convert a network for an engine, and return a function that runs it once."""
    made = bundle / f"made_{engine}"
    made.mkdir()
    converter = load_converter(engine)
    settings = ExportSettings(engines=(engine,), onnx=OnnxSettings(opset=OPSET))
    if reason := converter.refuses(source.spec, source.outputs, settings=settings, precision="fp32"):
        raise ParckitError(reason)
    artefact = converter.convert(source, folder=made, settings=settings, precision="fp32")
    placed = place_artefact(artefact, made_in=made, bundle=bundle)
    module = load_engine(find_engine(engine), what=engine)
    session = module.open_artefact(bundle, placed, source.spec, threads=threads)
    images = np.random.default_rng(SEED).standard_normal((1, *source.image_shape), np.float32)
    return lambda: session(images)


def spec_of(name: str, size: int) -> NetworkSpec:
    """Describe a classifier of 1000 classes."""
    return NetworkSpec(
        backbone=name, labels=tuple(map(str, range(1000))), preprocessing=Preprocessing(size=(size, size))
    )


def fresh(name: str) -> torch.nn.Module:
    """Return a network with random weights."""
    torch.manual_seed(SEED)
    return timm.create_model(name).eval()


def fused_source(name: str, size: int, work: Path) -> Source:
    """Return a network as `parckit export` starts from it."""
    return source_of(parckit.models.fuse(fresh(name), size=(size, size)), spec_of(name, size), work=work)


def unfused_source(name: str, size: int, work: Path) -> Source:
    """Return a network whose ONNX file torch's exporter has written without any help."""
    model, spec = fresh(name), spec_of(name, size)
    for module in model.modules():
        if isinstance(module, AxisConv2d):
            module.form = "conv"
    source = source_of(model, spec, work=work)
    torch.onnx.export(
        model,
        (torch.zeros(1, *source.image_shape),),
        work / "shared-auto.onnx",  # where the converters look for the graph that they share
        dynamo=True,
        opset_version=OPSET,
        input_names=["image"],
        output_names=[output.name for output in source.outputs],
        external_data=False,
        verbose=False,
    )
    return source


if __name__ == "__main__":
    main()
