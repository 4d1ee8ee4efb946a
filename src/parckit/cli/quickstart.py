"""`parckit quickstart`: all steps of a task on real handwritten digits, and a page about them."""

import json
import shlex
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from parckit.cli.quickstart_page import write_web_page
from parckit.cli.tables import show, tell
from parckit.contract import Contract, InputError, Task, check_folder, replacing
from parckit.deploy import export_bundle
from parckit.measure.environment import usable_cores
from parckit.measure.evaluation import Evaluation, EvaluationData, evaluate
from parckit.measure.latency import benchmark
from parckit.measure.records import write_record
from parckit.measure.timings import Benchmark, bench_values
from parckit.networks import open_checkpoint
from parckit.options import Seed, verb_parser
from parckit.report.content import write_page
from parckit.report.gather import gather
from parckit.report.page import Headline
from parckit.report.recorded import record_values
from parckit.report.results import result_view
from parckit.report.story import Story
from parckit.tasks import train

QuickstartTask = Literal["classify", "detect", "segment"]


@dataclass(frozen=True, kw_only=True, slots=True)
class Tour:
    """What the quickstart shows of a task.

    Attributes:
        recipe: the shipped recipe that it trains.
        source: its embedded data.
        title: heading of the page, after the name of the network.
        tested: what the test images are called.
        intended_use: see `Story`.
        data: see `Story`.
        limits: see `Story`.
    """

    recipe: str
    source: str
    title: str
    tested: str
    intended_use: str
    data: str
    limits: str


TOURS: Mapping[Task, Tour] = {
    "classify": Tour(
        recipe="classify/digits_parcnet_xxs",
        source="digits",
        title="handwritten digits",
        tested="held-out digits",
        intended_use=(
            "It shows that training, export and evaluation work on this machine. The network has seen only centred "
            "scans of 8x8 pixels. It is not meant to read digits in photographs."
        ),
        data=(
            "scikit-learn's 1,797 handwritten digits (UCI, 8x8 pixels), enlarged. A fifth of them, the same in every "
            "run, is used for the test."
        ),
        limits="It answers one of ten digits for every picture. Robustness and calibration were not measured.",
    ),
    "detect": Tour(
        recipe="detect/digit_scenes_tinydet",
        source="digit_scenes",
        title="scenes of handwritten digits",
        tested="test scenes",
        intended_use=(
            "It shows that training, export and evaluation of a detector work on this machine. The scenes are painted. "
            "The network is not meant to read digits in photographs."
        ),
        data=(
            "Scenes of 160x160 pixels: scikit-learn's handwritten digits (UCI), scaled and painted on textured "
            "canvases, up to eight in a scene. The digits of the test scenes do not occur in training."
        ),
        limits="It knows ten digits, 12 to 96 pixels high. Robustness and calibration were not measured.",
    ),
    "segment": Tour(
        recipe="segment/digit_scenes_upernet",
        source="digit_scenes",
        title="the pixels of handwritten digits",
        tested="test scenes",
        intended_use=(
            "It shows that training, export and evaluation of a network that segments work on this machine. The scenes "
            "are painted. The network is not meant to find digits in photographs."
        ),
        data=(
            "Scenes of 160x160 pixels: scikit-learn's handwritten digits (UCI), scaled and painted on textured "
            "canvases, up to eight in a scene. Every pixel belongs to a digit or to the background. The digits of the "
            "test scenes do not occur in training."
        ),
        limits="It knows ten digits, 12 to 96 pixels high. Robustness and calibration were not measured.",
    ),
}
"""Task -> what the quickstart shows of it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Outcome:
    """The measurements of the quickstart. Engine `torch` runs the checkpoint, `onnxruntime` runs the bundle.

    Attributes:
        contract: the contract of the bundle.
        score: name of the scalar that tells best how good the network is.
        evaluations: results on the test images by engine.
        benchmarks: latency by engine; the first timing has one thread.
        seconds: time from the start of the training to the last measurement.
    """

    contract: Contract
    score: str
    evaluations: Mapping[str, Evaluation]
    benchmarks: Mapping[str, Benchmark]
    seconds: float

    @property
    def summary(self) -> dict[str, float]:
        """The content of `summary.json`."""
        (check,) = self.contract.artefacts[0].checks
        return {
            f"{self.score}_torch": self.evaluations["torch"].score.scalars[self.score],
            f"{self.score}_onnxruntime": self.evaluations["onnxruntime"].score.scalars[self.score],
            "parity_max_abs": check.figures["max_abs"],
            "latency_ms_p50": self.benchmarks["onnxruntime"].timings[0].p50_ms,
            "seconds": self.seconds,
        }


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser(
        "quickstart", description="Train, export, verify, benchmark, report and write a page for the browser."
    )
    parser.add_argument("--task", type=QuickstartTask, default="classify", help="the task to show")
    parser.add_argument("--out", type=Path | None, default=None, help="folder for all results; runs/quickstart_TASK")
    parser.add_argument("--max_epochs", type=int | None, default=None, help="epochs; by default the recipe's number")
    parser.add_argument("--seed", type=Seed, default=0, help="seed of weights, order and augmentation")
    args = parser.read(argv)
    if args.max_epochs is not None and args.max_epochs < 1:
        raise InputError(f"--max_epochs {args.max_epochs}: must be at least 1")
    tour = TOURS[args.task]
    out: Path = args.out or Path(f"runs/quickstart_{args.task}")
    check_folder(out, option="--out")
    outcome = run(out, tour, max_epochs=args.max_epochs, seed=args.seed)
    _write_records(out, outcome, seed=args.seed)
    story = _make_story(out, tour, outcome, max_epochs=args.max_epochs, seed=args.seed)
    write_page(out / "report.html", gather(out, data=EvaluationData(source=tour.source)), story=story)
    page = write_web_page(out, source=tour.source)
    _show_summary(out, tour, outcome)
    tell(page)


def run(out: Path, tour: Tour, *, max_epochs: int | None, seed: int) -> Outcome:
    """Train, export, evaluate and benchmark; return the measurements."""
    # Train and export.
    start = time.perf_counter()
    trainer = {} if max_epochs is None else {"max_epochs": max_epochs}
    trained = train(tour.recipe, tell=tell, out=str(out / "train"), seed=seed, overwrite=True, trainer=trainer)
    bundle = out / "bundle"
    network, spec = open_checkpoint(trained.best)
    contract = export_bundle(network, spec, out=bundle)
    # Measure checkpoint and bundle. torch is measured with one thread only, because its number of threads belongs to
    # the whole process: parallel workers would change it for one another.
    models = {"torch": trained.best, "onnxruntime": bundle}
    threads = {"torch": (1,), "onnxruntime": _threads()}
    data = EvaluationData(source=tour.source)
    return Outcome(
        contract=contract,
        score=next(iter(result_view(spec.task).titles)),
        evaluations={name: evaluate(path, data) for name, path in models.items()},
        benchmarks={name: benchmark(path, threads=threads[name], seconds=1) for name, path in models.items()},
        seconds=time.perf_counter() - start,
    )


def _threads() -> tuple[int, ...]:
    return (1, 2) if usable_cores() > 1 else (1,)


def _write_records(out: Path, outcome: Outcome, *, seed: int) -> None:
    """Write the measurements as records, which `parckit report` reads, and as `summary.json`."""
    for name, path in (("torch", out / "train" / "best.ckpt"), ("onnxruntime", out / "bundle")):
        accuracy = record_values(outcome.evaluations[name], model=path)
        speed = bench_values(outcome.benchmarks[name], model=path)
        write_record(out / f"eval_{name}.json", "eval", accuracy, seed=seed, threads=None)
        write_record(out / f"bench_{name}.json", "bench", speed, seed=seed, threads=max(_threads()))
    with replacing(out / "summary.json") as temporary:
        temporary.write_text(json.dumps(outcome.summary, indent=2) + "\n", encoding="utf-8")


def _make_story(out: Path, tour: Tour, outcome: Outcome, *, max_epochs: int | None, seed: int) -> Story:
    """Return the texts of the page that are true for the digits only."""
    epochs = () if max_epochs is None else ("--trainer.max_epochs", str(max_epochs))
    checkpoint, bundle = str(out / "train" / "best.ckpt"), str(out / "bundle")
    commands = (
        ("train", "--config", tour.recipe, "--out", str(out / "train"), "--seed", str(seed), "--overwrite", *epochs),
        ("export", checkpoint, "--out", bundle),
        ("eval", bundle, "--data", tour.source),
        ("bench", bundle, "--threads", ",".join(map(str, _threads()))),
        ("report", str(out), "--data", tour.source),
    )
    return Story(
        title=f"{outcome.contract.spec.backbone} on {tour.title}",
        intended_use=tour.intended_use,
        data=tour.data,
        limits=tour.limits,
        licence="Code Apache-2.0; the digits are CC BY 4.0.",
        headlines=(Headline(label="All steps", value=f"{outcome.seconds:.0f} s"),),
        commands=tuple(shlex.join(["parckit", *command]) for command in commands),
    )


def _show_summary(out: Path, tour: Tour, outcome: Outcome) -> None:
    score, summary = outcome.evaluations["onnxruntime"].score, outcome.summary
    title = result_view(outcome.contract.spec.task).titles[outcome.score]
    (check,) = outcome.contract.artefacts[0].checks
    rows = [
        (f"{title}, torch", f"{summary[f'{outcome.score}_torch']:.2f} %"),
        (f"{title}, ONNX Runtime", f"{summary[f'{outcome.score}_onnxruntime']:.2f} % of {score.images} {tour.tested}"),
        ("difference from torch", f"{summary['parity_max_abs']:.1e} (accepted {check.figures['tolerance']:.1e})"),
        ("latency", f"{summary['latency_ms_p50']:.2f} ms, ONNX Runtime, 1 thread"),
        ("time", f"{outcome.seconds:.0f} s"),
    ]
    files = {"report": "report.html", "bundle": "bundle", "checkpoint": "train/best.ckpt", "numbers": "summary.json"}
    show("quickstart", ("what", "result"), [*rows, *((name, str(out / path)) for name, path in files.items())])
