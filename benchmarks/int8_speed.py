"""Measure what INT8 brings on an x86 processor: one image, one thread, ONNX Runtime and OpenVINO in turns.

    make test-engines  # installs the engines into .venv-engines
    OMP_NUM_THREADS=1 .venv-engines/bin/python benchmarks/int8_speed.py [--networks parcnet_s --seconds 60]

Every network runs in float32 and in int8 in both engines, all in turns in one process. Int8 comes in steps, so that one
sees what each of them brings: *convolutions* quantizes the operators with weights alone; *between* also the operators
between them, after the passes of `parckit.deploy.quantize.passes`, written for the engine.

The weights are random. Ranges come from one random image: no engine's time depends on them. `agreement` is the
correlation of the int8 logits with the float ones for another random image. It shows that nothing is broken, no more.

At the end, the time of every kind of operator is recorded, in float32 and in int8.
"""

import argparse
import json
import logging
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime
import torch

from parckit.contract import NetworkSpec, Preprocessing
from parckit.deploy import ExportSettings, export_bundle
from parckit.deploy.quantize.graph import read_float_graph
from parckit.deploy.quantize.passes import prepare_for_int8
from parckit.deploy.quantize.placement import nodes_behind_quantized
from parckit.deploy.quantize.qdq import write_qdq
from parckit.deploy.quantize.qdq_passes import FOR_ONNXRUNTIME, FOR_OPENVINO
from parckit.deploy.quantize.rules import usual_bits
from parckit.deploy.quantize.saturation import weight_scales_without_saturation
from parckit.deploy.quantize.scheme import Bits, Scheme
from parckit.measure.interleaved import compare_times, interleave
from parckit.measure.profile_onnxruntime import read_layers
from parckit.measure.records import write_record
from parckit.models import create_model
from parckit.runtimes.onnxruntime import load_graph

RECORD = Path(__file__).parent / "records" / "int8_speed.json"
SEED = 0
NETWORKS = {"parc_resnet50": 224, "parc_mobilenetv2": 224, "parcnet_s": 256, "parcnet_xs": 256, "convnext_atto": 224}
"""Name of the network -> side of the image, pixels: the size of the model's own configuration."""
FLAGS = ("avx2", "avx512f", "avx512_vnni", "avx_vnni")
"""Instructions on which the speed of int8 depends."""
PROFILED_RUNS = 20
SHOWN_OPERATORS = 7
"""Kinds of operators that the docs show, those that take most time."""
CLOCKS: Mapping[str, Callable[[], float]] = {"wall": time.perf_counter, "cpu": time.process_time}
"""Name -> clock. The second one does not count while other programs have the processor."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Files:
    """The files of a network.

    Attributes:
        forms: form of the convolutions along an axis -> the float file.
        int8: step and engine -> the int8 file.
    """

    forms: Mapping[str, Path]
    int8: Mapping[tuple[str, str], Path]


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60, help="per network")
    parser.add_argument("--networks", nargs="*", default=list(NETWORKS), choices=list(NETWORKS))
    parser.add_argument("--work", type=Path, help="folder that keeps the files of the networks for the next call")
    parser.add_argument("--prepare", action="store_true", help="only write the files of the networks to --work")
    parser.add_argument("--clock", choices=list(CLOCKS), default="wall", help="cpu: on a machine that others use")
    parser.add_argument("--part", choices=("times", "operators", "all"), default="all", help="what to measure")
    arguments = parser.parse_args()
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its notes on operators that it replaces
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    # A call measures some of the networks; the record keeps what earlier calls measured.
    known = json.loads(RECORD.read_text(encoding="utf-8"))["values"] if RECORD.exists() else {}
    with tempfile.TemporaryDirectory() as folder:
        for name in arguments.networks:
            files = write_files(name, (arguments.work or Path(folder)) / name)
            if arguments.prepare:
                continue
            parts: dict[str, object] = {}
            if arguments.part != "operators":
                parts |= measure(name, files, clock=arguments.clock, seconds=arguments.seconds, threads=threads)
            if arguments.part != "times":
                parts |= profile(name, files, threads=threads)
            known[name] = {**known.get(name, {}), **parts}
            print(name, json.dumps(parts, indent=1), flush=True)
            write_record(RECORD, "int8_speed", {**known, "flags": processor_flags()}, seed=SEED, threads=threads)
    print(table(known), table_of_the_fastest(known), table_of_operators(known), sep="\n")


def table(values: Mapping[str, Any]) -> str:
    """Return the first table of the docs."""
    lines = ["| network | engine | float ms | convolutions | all that it can | 95 % |", "|---|---|---|---|---|---|"]
    for name in NETWORKS:
        rows = values[name]["rows"] if name in values else {}
        for engine in ("onnxruntime", "openvino") if rows else ():
            plain = min(row["ms"] for key, row in rows.items() if key.startswith("float") and key.endswith(engine))
            steps = [rows[f"int8 {step} {engine}"] for step in ("convolutions", "between")]
            first, last = (row["against_float_of_its_engine"] for row in steps)
            cells = [
                f"`{name}`",
                engine,
                f"{plain:.1f}",
                f"{steps[0]['ms']:.1f} ms, {first['speedup']:.2f}",
                f"{steps[1]['ms']:.1f} ms, {last['speedup']:.2f}",
                f"{last['low']:.2f} to {last['high']:.2f}",
            ]
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def table_of_the_fastest(values: Mapping[str, Any]) -> str:
    """Return the second table of the docs: the fastest int8 network against the fastest float one."""
    lines = ["| network | float, best engine | int8, best engine | times faster | 95 % |", "|---|---|---|---|---|"]
    for name in (name for name in NETWORKS if name in values):
        rows, best = values[name]["rows"], values[name]["best"]
        cells = [f"{best[kind].rpartition(' ')[2]}, {rows[best[kind]]['ms']:.1f} ms" for kind in ("float", "int8")]
        interval = f"{best['low']:.2f} to {best['high']:.2f}"
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} | {best['speedup']:.2f} | {interval} |")
    return "\n".join(lines) + "\n"


def table_of_operators(values: Mapping[str, Any]) -> str:
    """Return the third table of the docs: where the time goes in ONNX Runtime."""
    lines = ["| network | float32 (layers) | int8 (layers) |", "|---|---|---|"]
    for name in (name for name in NETWORKS if name in values):
        cells = [
            ", ".join(
                f"{kind} {entry['ms']:.1f} ({entry['layers']})"
                for kind, entry in list(values[name]["operators"][precision].items())[:SHOWN_OPERATORS]
            )
            for precision in ("float", "int8")
        ]
        lines.append(f"| `{name}` | {cells[0]} | {cells[1]} |")
    return "\n".join(lines) + "\n"


def processor_flags() -> dict[str, bool]:
    """Return which of the instructions this processor has."""
    words = Path("/proc/cpuinfo").read_text(encoding="utf-8").split()
    return {flag: flag in words for flag in FLAGS}


def write_files(name: str, folder: Path) -> Files:
    """Export a network, and quantize it; files that are there are taken."""
    size = NETWORKS[name]
    forms = {form: folder / form / "onnx-fp32" / "model.onnx" for form in ("auto", "conv")}
    for form, file in forms.items():
        if not file.exists():
            torch.manual_seed(SEED)
            spec = NetworkSpec(
                backbone=name, labels=tuple(map(str, range(1000))), preprocessing=Preprocessing(size=(size, size))
            )
            settings = ExportSettings(form="conv" if form == "conv" else "auto")
            export_bundle(create_model(name).eval(), spec, out=folder / form, settings=settings)
    int8 = {
        (step, engine): folder / f"{step}-{engine}.onnx"
        for step in ("convolutions", "between")
        for engine in ("onnxruntime", "openvino")
    }
    for (step, engine), file in int8.items():
        if not file.exists():
            ir.save(quantized(forms["conv"], step=step, engine=engine), file)
    return Files(forms=forms, int8=int8)


def quantized(file: Path, *, step: str, engine: str) -> ir.Model:
    """Return the int8 graph of a float file, for an engine."""
    model = read_float_graph(file)
    bits: dict[str, Bits] = {}
    if step == "convolutions":
        bits = usual_bits(model)[0]
        passes = ()
    else:
        model = prepare_for_int8(model)
        bits = usual_bits(model)[0]
        bits |= dict.fromkeys(nodes_behind_quantized(model, bits), 8)
        passes = (FOR_OPENVINO if engine == "openvino" else FOR_ONNXRUNTIME,)
    scales = weight_scales_without_saturation(model, bits)
    scheme = Scheme(calibrator="minmax", ranges=ranges_of(model), bits=bits, weight_scales=scales)
    result = write_qdq(model, scheme)
    for entry in passes:
        result = entry(result).model
    return result


def ranges_of(model: ir.Model) -> dict[str, tuple[float, float]]:
    """Return the smallest and the largest number of every float tensor, for one random image."""
    proto = onnx.shape_inference.infer_shapes(ir.to_proto(model))
    known = {value.name: value.type.tensor_type.elem_type for value in proto.graph.value_info}
    proto.graph.output.extend(
        onnx.ValueInfoProto(name=name)
        for node in proto.graph.node
        for name in node.output
        if known.get(name) == onnx.TensorProto.FLOAT
    )
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    image = random_image(tuple(session.get_inputs()[0].shape), seed=SEED)
    names = [output.name for output in session.get_outputs()]
    values = zip(names, session.run(names, {"image": image}), strict=True)
    ranges = {name: (float(value.min()), float(value.max())) for name, value in values}
    return {**ranges, "image": (float(image.min()), float(image.max()))}


def random_image(shape: tuple[int, ...], *, seed: int) -> np.ndarray:
    """Return an image of random numbers."""
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def measure(name: str, files: Files, *, clock: str, seconds: float, threads: int) -> dict[str, object]:
    """Run all files of a network in turns, and profile them."""
    image = random_image((1, 3, NETWORKS[name], NETWORKS[name]), seed=SEED + 1)
    runs = {
        "float auto onnxruntime": inference(files.forms["auto"], "onnxruntime", image, threads=threads),
        "float auto openvino": inference(files.forms["auto"], "openvino", image, threads=threads),
        "float conv openvino": inference(files.forms["conv"], "openvino", image, threads=threads),
        **{
            f"int8 {step} {engine}": inference(file, engine, image, threads=threads)
            for (step, engine), file in files.int8.items()
        },
    }
    logits = {key: np.asarray(run()).ravel() for key, run in runs.items()}
    times = interleave(runs, seconds=seconds, clock=CLOCKS[clock])
    floats = [key for key in times if key.startswith("float")]
    int8 = [key for key in times if key.startswith("int8")]
    best = {
        kind: min(keys, key=lambda key: statistics.median(times[key]))
        for kind, keys in (("float", floats), ("int8", int8))
    }
    reference = logits[floats[0]]
    rows = {
        key: {
            "ms": statistics.median(values) * 1e3,
            "against_best_float": asdict(compare_times(times[best["float"]], values)),
            "against_float_of_its_engine": asdict(compare_times(own_float(times, key), values)),
            "agreement": float(np.corrcoef(reference, logits[key])[0, 1]),
        }
        for key, values in times.items()
    }
    sizes = {"float": files.forms["auto"].stat().st_size, "int8": files.int8["between", "onnxruntime"].stat().st_size}
    return {
        "size": NETWORKS[name],
        "clock": clock,
        "rows": rows,
        "best": {**best, **asdict(compare_times(times[best["float"]], times[best["int8"]]))},
        "bytes": sizes,
        "rounds": len(times[floats[0]]),
    }


def profile(name: str, files: Files, *, threads: int) -> dict[str, object]:
    """Return where the time goes in ONNX Runtime, in float32 and in int8."""
    image = random_image((1, 3, NETWORKS[name], NETWORKS[name]), seed=SEED + 1)
    kinds = {"float": files.forms["auto"], "int8": files.int8["between", "onnxruntime"]}
    return {"operators": {kind: operators(file, image, threads=threads) for kind, file in kinds.items()}}


def own_float(times: Mapping[str, Sequence[float]], key: str) -> Sequence[float]:
    """Return the times of the faster float file in the engine of a run."""
    engine = key.rsplit(maxsplit=1)[-1]
    keys = [other for other in times if other.startswith("float") and other.endswith(engine)]
    return times[min(keys, key=lambda other: statistics.median(times[other]))]


def inference(file: Path, engine: str, image: np.ndarray, *, threads: int) -> Callable[[], object]:
    """Return a function that runs a file once in an engine and returns the logits."""
    if engine == "onnxruntime":
        session = load_graph(file, threads=threads)
        return lambda: session.run(None, {"image": image})[0]
    from parckit.runtimes.openvino import compile_graph  # noqa: PLC0415  # it imports the engine

    request = compile_graph(file, precision="fp32", threads=threads).create_infer_request()
    return lambda: request.infer({0: image})[0]


def operators(file: Path, image: np.ndarray, *, threads: int) -> dict[str, dict[str, float]]:
    """Return kind of operator -> number of layers and milliseconds: the sum of the smallest time of each layer."""
    with tempfile.TemporaryDirectory() as folder:
        session = load_graph(file, threads=threads, profile=Path(folder) / "profile")
        for _ in range(PROFILED_RUNS):
            session.run(None, {"image": image})
        events = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
    starts = [(event["ts"], event["ts"] + event["dur"]) for event in events if event.get("name") == "model_run"]
    runs = [read_layers([event for event in events if start <= event["ts"] <= end]) for start, end in starts]
    # The smallest time of a layer is the one during which no other program had the processor.
    layers = [min(same, key=lambda layer: layer.milliseconds) for same in zip(*runs, strict=True)]
    kinds = sorted({layer.kind for layer in layers})
    times = {kind: [layer.milliseconds for layer in layers if layer.kind == kind] for kind in kinds}
    ordered = sorted(kinds, key=lambda kind: -sum(times[kind]))
    return {kind: {"layers": len(times[kind]), "ms": sum(times[kind])} for kind in ordered}


if __name__ == "__main__":
    main()
