"""Measure where the time of exported networks goes, layer by layer: ONNX Runtime, one thread.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/layers.py

The networks are those whose speed docs/speed.md compares. `--table` prints the table of the record.
"""

import argparse
import json
import logging
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from models import OPSET, SEED, UNFUSED, fused_source, unfused_source
from parckit.deploy import ExportSettings, OnnxSettings
from parckit.deploy.convert import load_converter
from parckit.measure.candidates import Wanted, find_candidates
from parckit.measure.profiling import profile
from parckit.measure.records import write_record

RECORD = Path(__file__).parent / "records" / "layers.json"
ENGINE = "onnxruntime"
NETWORKS = (("parcnet_s", 256), ("parcnetv2_xt", 224), ("parc_mobilenetv2", 224), ("mobilenetv2_100", 224))
"""Network -> side of the image, pixels."""
WITH_UNFUSED = {"parcnet_s", "parcnetv2_xt"}
GROUPS = {
    **{
        f"convolutions: {kernel}": (f"Conv, {kernel}",)
        for kernel in ("pointwise", "full", "depthwise", "along an axis")
    },
    "matrix products": ("MatMul", "FusedMatMul", "Gemm"),
}
"""Row of the table -> kinds of layers."""


def main() -> None:
    """Run, print and record."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=30, help="per network")
    parser.add_argument("--table", action="store_true", help="print the tables of the record, and do nothing else")
    arguments = parser.parse_args()
    if arguments.table:
        print(table(json.loads(RECORD.read_text(encoding="utf-8"))["values"]))
        return
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)  # its notes on operators that it replaces
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    rows = [
        measure(name, size=size, is_unfused=is_unfused, seconds=arguments.seconds, threads=threads)
        for name, size in NETWORKS
        for is_unfused in ((False, True) if name in WITH_UNFUSED else (False,))
    ]
    values = {"networks": rows}
    print(table(values))
    write_record(RECORD, "layers", values, seed=SEED, threads=threads)


def measure(name: str, *, size: int, is_unfused: bool, seconds: float, threads: int) -> dict[str, object]:
    """Return the time of every kind of layers of a network, and of every layer."""
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder) / "made"
        made.mkdir()
        source = (unfused_source if is_unfused else fused_source)(name, size, Path(folder))
        settings = ExportSettings(onnx=OnnxSettings(opset=OPSET))
        load_converter(ENGINE).convert(source, folder=made, settings=settings, precision="fp32")
        (candidate,) = find_candidates([made / "model.onnx"], Wanted(engines=(ENGINE,)))
        measured = profile(candidate, threads=threads, seconds=seconds)
    return {
        "network": name,
        "graph": UNFUSED if is_unfused else "fused",
        "size": size,
        "run_ms": measured.run_ms,
        "ceiling_gflops": measured.ceiling_gflops,
        "share_of_ceiling": measured.share_of_ceiling(measured.madds, measured.run_ms),
        "kinds": [
            {**asdict(kind), "share_of_ceiling": measured.share_of_ceiling(kind.madds, kind.milliseconds)}
            for kind in measured.kinds()
        ],
        "layers": [asdict(layer) for layer in measured.layers],
    }


def table(values: Mapping[str, Any]) -> str:
    """Return a record as the table of docs/speed.md: kinds of layers down, networks across."""
    networks = values["networks"]
    heads = [f"`{one['network']}`" + (f", {UNFUSED}" if one["graph"] == UNFUSED else "") for one in networks]
    columns = [[_cell(one["kinds"], names) for names in GROUPS.values()] for one in networks]
    lines = [
        ["ms, and share of the ceiling", *heads],
        ["---"] * (1 + len(networks)),
        *([group, *cells] for group, *cells in zip(GROUPS, *columns, strict=True)),
        ["all other operators", *(_rest(one["kinds"]) for one in networks)],
        ["whole run", *(f"{one['run_ms']:.1f} ({one['share_of_ceiling']:.0%})" for one in networks)],
    ]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _cell(kinds: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """Return milliseconds of a group, and its share of the ceiling, which is the mean over its multiply-adds."""
    members = [kind for kind in kinds if kind["kind"] in names and kind["madds"]]
    if not members:
        return "-"
    milliseconds = sum(kind["milliseconds"] for kind in members)
    # Time at the ceiling, divided by the time.
    share = sum(kind["milliseconds"] * kind["share_of_ceiling"] for kind in members) / milliseconds
    return f"{milliseconds:.1f} ({share:.0%})"


def _rest(kinds: Sequence[Mapping[str, Any]]) -> str:
    shown = {name for names in GROUPS.values() for name in names}
    return f"{sum(kind['milliseconds'] for kind in kinds if kind['kind'] not in shown):.1f}"


if __name__ == "__main__":
    main()
