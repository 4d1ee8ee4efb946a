"""`parckit eval`: accuracy of a checkpoint or bundle."""

import json
from dataclasses import asdict
from pathlib import Path

from rich.console import Console
from rich.progress import track

from parckit.cli.parsing import DataChoice, beside, verb_parser
from parckit.cli.tables import show
from parckit.contract import replacing
from parckit.measure.accuracy import Accuracy, evaluate
from parckit.measure.figures import save_figure
from parckit.measure.plots import confusion_matrix
from parckit.runtimes import Runtime, open_session


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("eval", description="Top-1, top-5 and confusion matrix on labelled images.")
    parser.add_argument("artefact", type=Path, help="a checkpoint, a bundle's folder, or shipped weights' name")
    parser.add_class_arguments(DataChoice, "data")
    parser.add_argument("--runtime", type=Runtime | None, default=None, help="the engine; by default what fits")
    parser.add_argument("--threads", type=int | None, default=None, help="threads of one inference")
    parser.add_argument("--picture", type=Path | None, default=None, help="confusion matrix; beside the artefact")
    parser.add_argument("--json", type=Path | None, default=None, help="write the numbers to this file too")
    args = parser.read(argv)
    session = open_session(args.artefact, runtime=args.runtime, threads=args.threads)
    batches = args.data.batches(session)
    console = Console(stderr=True)
    progress = track(batches, description="evaluating", console=console, disable=not console.is_terminal)
    found = evaluate(session, progress, num_classes=len(session.spec.labels))
    picture = args.picture or beside(args.artefact, "_confusion.png")
    rows = [("top-1 %", f"{found.top1:.2f}"), ("top-5 %", f"{found.top5:.2f}"), ("images", str(found.images))]
    rows += [("skipped", str(found.skipped)), ("engine", session.engine), ("confusion matrix", str(picture))]
    show(f"{args.artefact} on {args.data.source}, {args.data.split}", ("measure", "value"), rows)
    if args.json is not None:
        write_accuracy(args.json, found, engine=session.engine, data=args.data)
    save_figure(confusion_matrix(found.confusion, session.spec.labels), picture)


def write_accuracy(path: Path, found: Accuracy, *, engine: str, data: DataChoice) -> None:
    """Write what an evaluation found as JSON; top-1 and top-5 in percent."""
    values = asdict(found) | {"confusion": found.confusion.tolist(), "engine": engine, "data": asdict(data)}
    with replacing(path) as temporary:
        temporary.write_text(json.dumps(values, indent=2) + "\n", encoding="utf-8")
