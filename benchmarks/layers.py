"""Measure where the time of exported networks goes, layer by layer, with one thread.

    make test-engines  # installs the engines into .venv-engines
    OMP_NUM_THREADS=1 .venv-engines/bin/python benchmarks/layers.py

The networks are those of benchmarks/models.py that miss a goal, and what they are compared with. The ceiling is the
speed of the same engine in a large matrix product. `--table` prints the table of the record for docs/speed.md.
"""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from models import OPSET, SEED, UNFUSED, fresh, spec_of, unfused_source
from parckit.deploy import ExportSettings, OnnxSettings, export_bundle
from parckit.deploy.convert import load_converter
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.profiling import profile
from parckit.measure.records import write_record

RECORD = Path(__file__).parent / "records" / "layers.json"
KERNELS = ("pointwise", "full", "depthwise", "along an axis")
PRODUCTS = ("MatMul", "FusedMatMul", "Gemm", "FullyConnected")


@dataclass(frozen=True, kw_only=True, slots=True)
class Network:
    """A graph in an engine.

    Attributes:
        name: name of the model.
        size: side of the image, pixels.
        engine: name of the engine.
        graph: "fused", as parckit exports it, or "unfused", as torch's exporter writes it.
    """

    name: str
    size: int
    engine: str = "onnxruntime"
    graph: str = "fused"


NETWORKS = (
    Network(name="parcnet_s", size=256),
    Network(name="parcnet_s", size=256, graph=UNFUSED),
    Network(name="parcnet_s", size=256, engine="openvino"),
    Network(name="parcnetv2_xt", size=224),
    Network(name="parcnetv2_xt", size=224, graph=UNFUSED),
    Network(name="parc_mobilenetv2", size=224),
    Network(name="mobilenetv2_100", size=224),
)


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20, help="per network")
    parser.add_argument("--table", action="store_true", help="print the table of the record, and do nothing else")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(RECORD.read_text(encoding="utf-8"))["values"]))
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its notes on operators that it replaces
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    values = {"networks": [measure(one, seconds=arguments.seconds, threads=threads) for one in NETWORKS]}
    print(table(values))
    write_record(RECORD, "layers", values, seed=SEED, threads=threads)


def measure(network: Network, *, seconds: float, threads: int) -> dict[str, object]:
    """Return the time of every kind of layers of a network, and of every layer."""
    with tempfile.TemporaryDirectory() as folder:
        path = (write_unfused if network.graph == UNFUSED else write_fused)(network, Path(folder))
        (candidate,) = find_candidates([path], Wanted(engines=(network.engine,)))
        measured = profile(candidate, threads=threads, seconds=seconds)
    return {
        **asdict(network),
        "run_ms": measured.run_ms,
        "layers_ms": measured.layers_ms,
        "ceiling_gflops": measured.ceiling_gflops,
        "share_of_ceiling": measured.share_of_ceiling(measured.madds, measured.run_ms),
        "kinds": [
            {**asdict(kind), "share_of_ceiling": measured.share_of_ceiling(kind.madds, kind.milliseconds)}
            for kind in measured.kinds()
        ],
        "layers": [asdict(layer) for layer in measured.layers],
    }


def write_fused(network: Network, folder: Path) -> Path:
    """Export a network, and return its bundle."""
    bundle, settings = folder / "bundle", ExportSettings(engines=(network.engine,))
    export_bundle(fresh(network.name), spec_of(network.name, network.size), out=bundle, settings=settings)
    return bundle


def write_unfused(network: Network, folder: Path) -> Path:
    """Write a network as torch's exporter does, with a description, and return the file."""
    source = unfused_source(network.name, network.size, folder)
    settings = ExportSettings(onnx=OnnxSettings(opset=OPSET))
    load_converter(network.engine).convert(source, folder=folder, settings=settings, precision="fp32")
    return folder / "model.onnx"


def table(values: Mapping[str, Any]) -> str:
    """Return a record as the table of docs/speed.md: networks down, kinds of layers across."""
    heads = ["network", *(f"convolutions: {kernel}" for kernel in KERNELS), "matrix products", "the rest", "whole run"]
    lines = [heads, ["---"] * len(heads)]
    for row in values["networks"]:
        groups = [[kind for kind in row["kinds"] if kind["kind"].endswith(f", {kernel}")] for kernel in KERNELS]
        groups.append([kind for kind in row["kinds"] if kind["kind"] in PRODUCTS])
        shown = [kind["kind"] for group in groups for kind in group]
        rest = sum(kind["milliseconds"] for kind in row["kinds"] if kind["kind"] not in shown)
        name = f"`{row['name']}`" + (f", {UNFUSED}" if row["graph"] == UNFUSED else "")
        whole = f"{row['run_ms']:.1f} ({row['share_of_ceiling']:.0%})"
        lines.append([f"{name}, {row['engine']}", *map(_cell, groups), f"{rest:.1f}", whole])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(kinds: Sequence[Mapping[str, Any]]) -> str:
    """Return milliseconds of some kinds of layers, and the mean share of the ceiling in this time."""
    milliseconds = sum(kind["milliseconds"] for kind in kinds)
    if not milliseconds:
        return "-"
    share = sum(kind["milliseconds"] * (kind["share_of_ceiling"] or 0) for kind in kinds) / milliseconds
    return f"{milliseconds:.1f} ({share:.0%})"


if __name__ == "__main__":
    main()
