"""Measure what INT8 brings in MNN, ncnn and LiteRT on an x86 processor: one image, one thread, beside float32.

    make test-engines test-litert  # installs the engines into two folders
    OMP_NUM_THREADS=1 .venv-engines/bin/python benchmarks/int8_mobile_speed.py mnn ncnn
    OMP_NUM_THREADS=1 .venv-litert/bin/python benchmarks/int8_mobile_speed.py litert

Every network is exported and quantized as `parckit export` and `parckit quantize` do without options. Its weights are
random, and so are the few pictures that calibrate: no engine's time depends on them. Then both run in turns.

`--accuracy DIR` compares the answers of the network that ships with parckit instead: float32 and int8 in the same
engine, for the first test pictures of CIFAR-10 in DIR, tar shards of JPEG copies; 300 pictures of `train` calibrate.

A call measures some of the engines. The record keeps what earlier calls measured.
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from parckit.contract import Artefact, NetworkSpec, Preprocessing, read_contract
from parckit.deploy import ExportSettings, export, export_bundle
from parckit.deploy.quantize import QuantizeSettings, quantize
from parckit.deploy.quantize.pictures import PartOfTable, open_table
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.evaluation_data import EvaluationData
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.latency import one_batch
from parckit.measure.records import write_record
from parckit.models import create_model
from parckit.runtimes import Session, open_session

ROOT = Path(__file__).parents[1]
RECORD = Path(__file__).parent / "records" / "int8_mobile_speed.json"
SEED = 0
NETWORKS = {"parc_resnet50": 224, "parc_mobilenetv2": 224, "parcnet_s": 256, "convnext_atto": 224}
"""Name of the network -> side of the image, pixels: the size of the model's own configuration."""
SHIPPED = "parcnet_xs.cifar10"
FORMATS = {"mnn": "mnn", "ncnn": "ncnn", "litert": "tflite"}
"""Engine -> format of its files."""
RANDOM_PICTURES = 4
SAMPLES, TESTED = 300, 2000
"""How many pictures calibrate the shipped network, and how many it answers."""
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Name -> clock. The second one does not count while other programs have the processor."""


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("engines", nargs="+", choices=list(FORMATS))
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--seconds", type=float, default=15, help="per network and engine")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: on a machine that others use")
    parser.add_argument("--work", type=Path, default=ROOT / "runs" / "int8_mobile", help="folder of the bundles")
    parser.add_argument("--prepare", action="store_true", help="only write the bundles")
    parser.add_argument("--accuracy", type=Path, metavar="DIR", help="measure the answers instead")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    known = json.loads(RECORD.read_text(encoding="utf-8"))["values"] if RECORD.exists() else {}
    names = [SHIPPED] if arguments.accuracy else arguments.networks
    for name in names:
        bundle = arguments.work / "-".join(arguments.engines) / name
        if not bundle.exists():
            write_bundle(name, arguments.engines, bundle, data=arguments.accuracy)
    for name, engine in product(names, () if arguments.prepare else arguments.engines):
        bundle = arguments.work / "-".join(arguments.engines) / name
        if arguments.accuracy:
            result = compare_answers(bundle, engine, arguments.accuracy)
        else:
            result = compare_speed(bundle, engine, clock=arguments.clock, seconds=arguments.seconds)
        known.setdefault(name, {})[engine] = result
        print(name, engine, json.dumps(result), flush=True)
        write_record(RECORD, "int8_mobile_speed", known, seed=SEED, threads=1)
    print(speed_table(known), answers_table(known), sep="\n")


def write_bundle(name: str, engines: Sequence[str], bundle: Path, *, data: Path | None) -> None:
    """Write the bundle of a network with the float32 and the int8 files of engines."""
    exported = ExportSettings(engines=("onnxruntime", *engines))
    quantized = QuantizeSettings(
        samples=SAMPLES, engines=(*engines,), seconds=0, least_agreement=0, accepted_drop=100.0, seed=SEED
    )
    # Nobody finds a bundle that is not complete.
    half = bundle.with_name(f"{name}.part")
    if data is not None:
        export(name, half, settings=exported)
        quantize(half, EvaluationData(source=str(data), split="train"), settings=quantized)
    else:
        torch.manual_seed(SEED)
        size = (NETWORKS[name], NETWORKS[name])
        spec = NetworkSpec(backbone=name, labels=tuple(map(str, range(1000))), preprocessing=Preprocessing(size=size))
        export_bundle(create_model(name).eval(), spec, out=half, settings=exported)
        with tempfile.TemporaryDirectory() as folder:
            for index in range(RANDOM_PICTURES):
                pixels = np.random.default_rng(index).integers(0, 256, (*size, 3), np.uint8)
                Image.fromarray(pixels).save(Path(folder) / f"{index}.png")
            quantize(half, folder, settings=quantized)
    half.rename(bundle)


def open_both(bundle: Path, engine: str) -> tuple[Session, Session]:
    """Open the float32 and the int8 file of a bundle in an engine, with one thread."""
    names = (f"{FORMATS[engine]}-{precision}" for precision in ("fp32", "int8"))
    plain, int8 = (open_session(bundle, runtime=engine, artefact=name, threads=1) for name in names)
    return plain, int8


def compare_speed(bundle: Path, engine: str, *, clock: str, seconds: float) -> dict[str, object]:
    """Run the float32 and the int8 file of a bundle in turns."""
    sessions = dict(zip(("float", "int8"), open_both(bundle, engine), strict=True))
    runs = {kind: partial(session, one_batch(session)) for kind, session in sessions.items()}
    times = interleave(runs, seconds=seconds, clock=CLOCKS[clock])
    contract = read_contract(bundle)
    sizes = {kind: bytes_of(bundle, contract.artefact(session.artefact)) for kind, session in sessions.items()}
    return {
        "engine": sessions["int8"].engine,
        "clock": clock,
        "rounds": len(times["int8"]),
        **{f"{kind}_ms": statistics.median(values) * 1e3 for kind, values in times.items()},
        **asdict(compare_times(times["float"], times["int8"])),
        "bytes": sizes,
    }


def bytes_of(bundle: Path, artefact: Artefact) -> int:
    """Return the size of what an engine reads."""
    return sum((bundle / file).stat().st_size for file in artefact.files if not file.endswith(".json"))


def compare_answers(bundle: Path, engine: str, data: Path) -> dict[str, object]:
    """Return how many answers of the float32 and of the int8 file are right, and how many are the same, in percent."""
    plain, int8 = open_both(bundle, engine)
    table, _ = open_table(EvaluationData(source=str(data), split="test"), plain.spec)
    yardstick = Yardstick(plain, PartOfTable(table=table, indices=np.arange(TESTED)), has_labels=True)
    measure = yardstick.measure(int8)
    return {
        "engine": int8.engine,
        "images": yardstick.images,
        "float_top1": yardstick.reference.score,
        "int8_top1": measure.score,
        "agreement": 100 * (measure.agreement or 0.0),
        "sqnr": measure.sqnr,
    }


def speed_table(values: Mapping[str, Any]) -> str:
    """Return the table of the speed, as docs/int8.md shows it."""
    lines = ["| network | engine | float ms | int8 ms | times faster | 95 % | size |", "|" + "---|" * 7]
    for name in NETWORKS:
        for engine, row in values.get(name, {}).items():
            share = row["bytes"]["int8"] / row["bytes"]["float"]
            times = f"{row['float_ms']:.1f} | {row['int8_ms']:.1f} | {row['speedup']:.2f}"
            lines.append(f"| `{name}` | {engine} | {times} | {row['low']:.2f} to {row['high']:.2f} | {share:.2f} |")
    return "\n".join(lines) + "\n"


def answers_table(values: Mapping[str, Any]) -> str:
    """Return the table of the answers, as docs/int8.md shows it."""
    lines = ["| engine | float top-1 % | int8 top-1 % | same answers % |", "|" + "---|" * 4]
    for engine, row in values.get(SHIPPED, {}).items():
        lines.append(f"| {engine} | {row['float_top1']:.2f} | {row['int8_top1']:.2f} | {row['agreement']:.1f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
