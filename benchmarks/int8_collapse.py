"""Show which nodes of a network break in int8, and what each step of `parckit quantize` mends.

    OMP_NUM_THREADS=1 .venv/bin/python benchmarks/int8_collapse.py DIR/convnext_atto/best.ckpt

The network is ConvNeXt-atto, trained on CIFAR-10 by benchmarks/int8_networks.py: layer norms and GELU. It is quantized
in steps. The first one is what people call plain: ranges from the lowest to the highest number, weights rounded to the
nearest number. Each of the others changes one setting more. All are evaluated on the same test pictures. For the first
and the last step, every node is measured alone, and all but it, and drawn: docs/int8-plain.svg, docs/int8-usual.svg.
"""

import argparse
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from parckit.deploy import export
from parckit.deploy.quantize import QuantizeSettings, find_sensitivity
from parckit.deploy.quantize.pictures import PartOfTable, open_table
from parckit.deploy.quantize.progress import show_nothing
from parckit.deploy.quantize.sensitivity import Sensitivity, Trial
from parckit.deploy.quantize.steps import choose_pictures, open_float, prepare
from parckit.deploy.quantize.yardstick import Yardstick
from parckit.measure.evaluation_data import EvaluationData
from parckit.measure.records import write_record
from parckit.report.figures import save_figure
from parckit.report.sensitivity_chart import NodeError, node_errors

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "benchmarks" / "records" / "int8_collapse.json"
DATA = ROOT.parent / "shared" / "data" / "cifar10"
IMAGES, SAMPLES, RANKED = 3000, 300, 100
"""Test pictures, calibration pictures, and pictures with which nodes are measured."""
SHOWN = 12
"""Nodes of a table."""
PLAIN: Mapping[str, Any] = {
    "calibrator": "minmax",
    "rounding": "nearest",
    "bias_correction": False,
    "avoid_saturation": False,
}
STEPS: Mapping[str, tuple[str, ...]] = {
    "plain": (),
    "sums of products fit into 16 bits": ("avoid_saturation",),
    "ranges without the largest 0.01 %": ("avoid_saturation", "calibrator"),
    "weights rounded by GPTQ": ("avoid_saturation", "calibrator", "rounding"),
    "biases corrected: the usual settings": ("avoid_saturation", "calibrator", "rounding", "bias_correction"),
}
"""Step -> settings of PLAIN that it leaves out, so that they have their usual value."""


def settings_of(step: str, *, samples: int) -> QuantizeSettings:
    """Return the settings of a step."""
    plain = {name: value for name, value in PLAIN.items() if name not in STEPS[step]}
    return QuantizeSettings(samples=samples, least_agreement=0.0, accepted_drop=100.0, seconds=0.0, **plain)


def measure_steps(bundle: Path, work: Path) -> dict[str, object]:
    """Measure all steps on test pictures."""
    network = open_float(bundle)
    train = EvaluationData(source=str(DATA), split="train")
    pictures = choose_pictures(
        network, train, settings=QuantizeSettings(samples=SAMPLES), work=work, progress=show_nothing
    )
    table, has_labels = open_table(EvaluationData(source=str(DATA), split="test"), network.spec)
    part = PartOfTable(table=table, indices=np.arange(IMAGES))
    yardstick = Yardstick(network.session, part, has_labels=has_labels)
    steps: dict[str, object] = {"float32": {"score": yardstick.reference.score}}
    for step in STEPS:
        source = prepare(network, pictures, settings=settings_of(step, samples=SAMPLES), progress=show_nothing)
        measured = Trial(source, yardstick).measure(source.scheme.bits)
        steps[step] = {"score": measured.score, "agreement": measured.agreement, "sqnr": measured.sqnr}
        print(step, steps[step], flush=True)
    return steps


def rank(bundle: Path, step: str, *, picture: Path, work: Path) -> dict[str, object]:
    """Measure every node of a step, and draw them."""
    settings = settings_of(step, samples=RANKED)
    measured = find_sensitivity(bundle, DATA, file=work / f"{picture.stem}.json", settings=settings)
    errors = [
        NodeError(f"{node.node} ({node.operator})", node.alone.sqnr, node.without.sqnr) for node in measured.ranked
    ]
    save_figure(node_errors(errors, all_quantized=measured.all_quantized.sqnr, title=f"ConvNeXt-atto: {step}"), picture)
    return {"all": measured.all_quantized.sqnr, "nodes": len(measured.nodes), "worst": worst_of(measured)}


def worst_of(measured: Sensitivity) -> list[dict[str, object]]:
    """Return the nodes with the largest error."""
    return [
        {"node": node.node, "operator": node.operator, "alone": node.alone.sqnr, "without": node.without.sqnr}
        for node in measured.ranked[:SHOWN]
    ]


def table(values: Mapping[str, Any]) -> str:
    """Return the steps as docs/int8.md shows them."""
    lines = ["| step | top-1 % | same answers % | SQNR dB |", "|---|---|---|---|"]
    for step, measured in values["steps"].items():
        rest = f"{100 * measured['agreement']:.1f} | {measured['sqnr']:.1f}" if "sqnr" in measured else "100.0 | "
        lines.append(f"| {step} | {measured['score']:.2f} | {rest} |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Run the measurement."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkpoint", type=Path, help="ConvNeXt-atto of benchmarks/int8_networks.py")
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        bundle = work / "bundle"
        export(args.checkpoint, bundle)
        values: dict[str, object] = {"images": IMAGES, "steps": measure_steps(bundle, work)}
        for name, step in (("plain", "plain"), ("usual", list(STEPS)[-1])):
            values[name] = rank(bundle, step, picture=ROOT / "docs" / f"int8-{name}.svg", work=work)
            print(name, json.dumps(values[name]), flush=True)
    write_record(RECORD, RECORD.stem, values, seed=0, threads=1)
    print(table(values))


if __name__ == "__main__":
    main()
