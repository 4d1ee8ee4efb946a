"""Measure where the time of exported networks goes, by the geometry of their layers: ONNX Runtime, one thread.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/layers.py

The networks are those whose speed docs/speed.md compares. A convolution belongs to a group by its kernel; all other
operators are a group of their own. `--table` prints the tables of the record.
"""

import argparse
import json
import logging
import os
import tempfile
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx

from models import OPSET, SEED, UNFUSED, fused_source, unfused_source
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert import load_converter
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.profiling import Layer, Profile, profile
from parckit.measure.records import write_record

RECORD = Path(__file__).parent / "records" / "layers.json"
ENGINE = "onnxruntime"
NETWORKS = (("parcnet_s", 256), ("parcnetv2_xt", 224), ("parc_mobilenetv2", 224), ("mobilenetv2_100", 224))
"""Network -> side of the image, pixels."""
WITH_UNFUSED = {"parcnet_s", "parcnetv2_xt"}
CONVOLUTIONS = ("pointwise", "depthwise", "along an axis", "other convolutions")
PRODUCTS = "matrix products"


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="per network")
    parser.add_argument("--table", action="store_true", help="print the tables of the record, and do nothing else")
    arguments = parser.parse_args()
    if arguments.table:
        print(tables(json.loads(RECORD.read_text(encoding="utf-8"))["values"]))
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its notes on operators that it replaces
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    sides = [(name, size, which) for name, size in NETWORKS for which in ("fused", UNFUSED)]
    rows = [
        measure(name, size=size, is_unfused=which == UNFUSED, seconds=arguments.seconds, threads=threads)
        for name, size, which in sides
        if which == "fused" or name in WITH_UNFUSED
    ]
    values = {"networks": rows}
    print(tables(values))
    write_record(RECORD, "layers", values, seed=SEED, threads=threads)


def measure(name: str, *, size: int, is_unfused: bool, seconds: float, threads: int) -> dict[str, object]:
    """Return the time of every group of layers of a network, and of every layer."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        source = (unfused_source if is_unfused else fused_source)(name, size, Path(folder))
        settings = ExportSettings(onnx=OnnxSettings(opset=OPSET))
        load_converter(ENGINE).convert(source, folder=made, settings=settings, precision="fp32")
        file = made / "model.onnx"
        (candidate,) = find_candidates([file], Wanted(engines=(ENGINE,)))
        measured = profile(candidate, threads=threads, seconds=seconds)
        groups = group_layers(measured, kernels_of(onnx.load(file).graph))
    return {
        "network": f"{name}, {UNFUSED}" if is_unfused else name,
        "size": size,
        "run_ms": measured.run_ms,
        "ceiling_gflops": measured.ceiling_gflops,
        "share_of_ceiling": measured.share_of_ceiling(measured.madds, measured.run_ms),
        "groups": groups,
    }


def kernels_of(graph: onnx.GraphProto) -> dict[str, str]:
    """Return the group of every convolution, by the name of its node."""
    shapes = {weight.name: tuple(weight.dims) for weight in graph.initializer}
    return {node.name: group_of(shapes[node.input[1]]) for node in graph.node if node.op_type == "Conv"}


def group_of(weight: tuple[int, ...]) -> str:
    """Return the group of a convolution with a weight of this shape (out, in of a group, height, width)."""
    _, inputs, height, width = weight
    if (height, width) == (1, 1):
        return "pointwise"
    if inputs > 1:
        return "other convolutions"
    return "along an axis" if 1 in (height, width) else "depthwise"


def group_layers(measured: Profile, kernels: Mapping[str, str]) -> dict[str, dict[str, float | int | None]]:
    """Return layers, milliseconds and share of the ceiling of every group."""
    counts, times, madds = Counter[str](), Counter[str](), Counter[str]()
    for layer in measured.layers:
        group = _group_of_layer(layer, kernels)
        counts[group] += 1
        times[group] += layer.milliseconds
        madds[group] += layer.madds or 0
    return {
        group: {
            "layers": counts[group],
            "milliseconds": times[group],
            "share_of_ceiling": measured.share_of_ceiling(madds[group], times[group]),
        }
        for group, _ in times.most_common()
    }


def _group_of_layer(layer: Layer, kernels: Mapping[str, str]) -> str:
    """Return the group of a layer. ONNX Runtime calls a convolution after its node, with more behind the name."""
    if "Conv" in layer.kind:
        names = [name for name in kernels if layer.name.startswith(name)]
        return kernels[max(names, key=len)] if names else "other convolutions"
    return PRODUCTS if layer.madds else layer.kind


def tables(values: Mapping[str, Any]) -> str:
    """Return a record as the table of docs/speed.md: groups down, networks across."""
    networks = values["networks"]
    groups = [*CONVOLUTIONS, PRODUCTS]
    lines = [["", *(f"`{one['network'].partition(',')[0]}`{one['network'].partition(',')[1]}{one['network'].partition(',')[2]}" for one in networks)]]
    lines.append(["---"] * len(lines[0]))
    for group in groups:
        lines.append([group, *(_cell(one["groups"].get(group)) for one in networks)])
    lines.append(["all other operators", *(_rest(one["groups"], groups) for one in networks)])
    lines.append(["whole run", *(f"{one['run_ms']:.1f} ({one['share_of_ceiling']:.0%})" for one in networks)])
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(group: Mapping[str, Any] | None) -> str:
    if group is None:
        return "-"
    return f"{group['milliseconds']:.1f} ({group['share_of_ceiling']:.0%})"


def _rest(groups: Mapping[str, Mapping[str, Any]], shown: list[str]) -> str:
    return f"{sum(group['milliseconds'] for name, group in groups.items() if name not in shown):.1f}"


if __name__ == "__main__":
    main()
