"""`parckit quickstart`: the whole path on real handwritten digits, and a page about it."""

import json
import shlex
import time
from dataclasses import asdict
from pathlib import Path

import numpy as np

from parckit.cli.data_choice import DataChoice
from parckit.cli.parsing import Seed, verb_parser
from parckit.cli.quickstart_report import Outcome, Samples, write
from parckit.cli.tables import show
from parckit.cli.train import train
from parckit.contract import MODEL_FILE, InputError, replacing
from parckit.deploy import export_bundle
from parckit.measure.accuracy import evaluate
from parckit.measure.curve import read_curve
from parckit.measure.environment import usable_cores
from parckit.measure.latency import benchmark
from parckit.measure.records import write_record
from parckit.runtimes import Session, open_session
from parckit.runtimes.torch import open_checkpoint

RECIPE = "classify/digits_parcnet_xxs"
_DATA = DataChoice(source="digits")


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("quickstart", description="Train, export, verify, benchmark and report on digits.")
    parser.add_argument("--out", type=Path, default=Path("runs/quickstart"), help="folder of everything made")
    parser.add_argument("--max_epochs", type=int | None, default=None, help="fewer epochs than the recipe's")
    parser.add_argument("--seed", type=Seed, default=0, help="of weights, order and augmentation")
    args = parser.read(argv)
    if args.max_epochs is not None and args.max_epochs < 1:
        raise InputError(f"--max_epochs {args.max_epochs}: must be at least 1")
    out: Path = args.out
    outcome = run(out, max_epochs=args.max_epochs, seed=args.seed)
    write(out / "report.html", outcome)
    _write_summary(out / "summary.json", outcome)
    _close(out, outcome)


def run(out: Path, *, max_epochs: int | None, seed: int) -> Outcome:
    """Go the path once and return what was found on it."""
    start = time.perf_counter()
    options = ["--config", RECIPE, "--out", str(out / "train"), "--seed", str(seed), "--overwrite"]
    command = options if max_epochs is None else [*options, "--trainer.max_epochs", str(max_epochs)]
    trained = train(command)
    model, spec = open_checkpoint(trained.best)
    bundle = out / "bundle"
    contract = export_bundle(model, spec, out=bundle)
    torch_session, onnx_session = open_session(trained.best), open_session(bundle)
    num_classes = len(spec.labels)
    counts = (1, 2) if usable_cores() > 1 else (1,)
    outcome = Outcome(
        spec=spec,
        contract=contract,
        bundle_bytes=(bundle / MODEL_FILE).stat().st_size,
        curve=tuple(read_curve(trained.metrics)),
        torch=evaluate(torch_session, _DATA.batches(torch_session), num_classes=num_classes),
        onnxruntime=evaluate(onnx_session, _DATA.batches(onnx_session), num_classes=num_classes),
        samples=_samples(onnx_session),
        # torch on one thread alone: its thread count is the process's, and workers side by side would disturb it.
        timings={
            torch_session.engine: benchmark(lambda n: open_session(trained.best, threads=n), threads=(1,), seconds=1),
            onnx_session.engine: benchmark(lambda n: open_session(bundle, threads=n), threads=counts, seconds=1),
        },
        seed=seed,
        commands=(
            shlex.join(["parckit", "train", *command]),
            shlex.join(["parckit", "export", str(trained.best), "--out", str(bundle)]),
            shlex.join(["parckit", "eval", str(bundle), "--data", "digits", "--runtime", "onnxruntime"]),
            shlex.join(["parckit", "bench", str(bundle), "--threads", ",".join(map(str, counts))]),
        ),
        seconds=time.perf_counter() - start,
    )
    timings = {engine: [asdict(timing) for timing in found] for engine, found in outcome.timings.items()}
    write_record(out / "bench.json", "quickstart", {"timings": timings}, seed=seed, threads=max(counts))
    return outcome


def _samples(session: Session) -> Samples:
    labels, preprocessing = session.spec.labels, session.spec.preprocessing
    images, truths, predictions, confidences = [], [], [], []
    for batch in _DATA.batches(session):
        logits = session(batch.images.numpy())
        odds = np.exp(logits - logits.max(1, keepdims=True))
        pixels = batch.images.numpy().transpose(0, 2, 3, 1) * preprocessing.std + preprocessing.mean
        images.extend((255 * pixels).clip(0, 255).astype(np.uint8))
        truths.extend(labels[target] for target in batch.targets.tolist())
        predictions.extend(labels[best] for best in logits.argmax(1))
        confidences.extend((odds.max(1) / odds.sum(1)).tolist())
    return Samples(images=images, truths=truths, predictions=predictions, confidences=confidences)


def _write_summary(path: Path, outcome: Outcome) -> None:
    values = {
        "top1_torch": outcome.torch.top1,
        "top1_onnxruntime": outcome.onnxruntime.top1,
        "parity_max_abs": outcome.contract.parity.max_abs,
        "latency_ms_p50": outcome.latency.p50_ms,
        "seconds": outcome.seconds,
    }
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")


def _close(out: Path, outcome: Outcome) -> None:
    accuracy, parity = outcome.onnxruntime, outcome.contract.parity
    found = [
        ("top-1, torch", f"{outcome.torch.top1:.2f} %"),
        ("top-1, ONNX Runtime", f"{accuracy.top1:.2f} % of {accuracy.images} held-out digits"),
        ("parity", f"{parity.max_abs:.1e} (accepted {parity.tolerance:.1e})"),
        ("latency", f"{outcome.latency.p50_ms:.2f} ms, ONNX Runtime, 1 thread"),
        ("time", f"{outcome.seconds:.0f} s"),
    ]
    made = {"report": "report.html", "bundle": "bundle", "checkpoint": "train/best.ckpt", "numbers": "summary.json"}
    show("quickstart", ("what", "result"), [*found, *((name, str(out / path)) for name, path in made.items())])
