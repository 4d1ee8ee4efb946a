"""`parckit eval`: accuracy of a checkpoint or bundle."""

from dataclasses import asdict
from pathlib import Path

from parckit.cli.data_choice import DataChoice
from parckit.cli.parsing import beside, verb_parser
from parckit.cli.progress import track
from parckit.cli.tables import show
from parckit.measure.accuracy import evaluate
from parckit.measure.figures import picture_kind, save_figure
from parckit.measure.plots import confusion_matrix
from parckit.measure.records import write_record
from parckit.runtimes import Runtime, open_session


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("eval", description="Top-1, top-5 and confusion matrix on labelled images.")
    parser.add_argument("artefact", type=Path, help="a checkpoint, a bundle's folder, or shipped weights' name")
    parser.add_class_arguments(DataChoice, "data")
    parser.add_argument("--runtime", type=Runtime | None, default=None, help="the engine; by default what fits")
    parser.add_argument("--threads", type=int | None, default=None, help="threads of one inference")
    parser.add_argument("--picture", type=Path | None, default=None, help="confusion matrix; beside the artefact")
    parser.add_argument(
        "--record",
        type=Path | None,
        default=None,
        help="also write the numbers to this JSON file",
    )
    args = parser.read(argv)
    picture = args.picture or beside(args.artefact, "_confusion.png")
    picture_kind(picture)
    session = open_session(args.artefact, runtime=args.runtime, threads=args.threads)
    dataset = args.data.open(session)
    batches = track(args.data.load(dataset), description="evaluating")
    found = evaluate(session, batches, num_classes=len(session.spec.labels))
    rows = [("top-1 %", f"{found.top1:.2f}"), ("top-5 %", f"{found.top5:.2f}"), ("images", str(found.images))]
    rows += [("skipped", str(found.skipped)), ("engine", session.engine), ("confusion matrix", str(picture))]
    show(f"{args.artefact} on {args.data.source}, {dataset.served}", ("measure", "value"), rows)
    if args.record is not None:
        values = asdict(found) | {"confusion": found.confusion.tolist()}
        values |= {
            "artefact": str(args.artefact),
            "engine": session.engine,
            "data": asdict(args.data) | {"served": dataset.served},
        }
        write_record(args.record, "eval", values, seed=None, threads=args.threads)
    save_figure(confusion_matrix(found.confusion, session.spec.labels), picture)
