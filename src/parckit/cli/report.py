"""`parckit report`: a page about a run or a bundle."""

from functools import partial
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from parckit.cli.progress import track
from parckit.cli.tables import tell
from parckit.contract import InputError, check_target
from parckit.measure.evaluation import EvaluationData
from parckit.options import beside, verb_parser
from parckit.report.content import write_page
from parckit.report.gather import gather, is_bundle
from parckit.report.story import CARD_TEXTS, Story, read_card


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("report", description="Write one HTML page about a run or a bundle.")
    parser.shorthands = {"--data": "--data.source"}
    parser.add_argument("path", type=Path, help="folder of a run or a bundle")
    out = "the page, .html; by default report.html in the run's folder, or NAME_report.html beside the bundle"
    parser.add_argument("--out", type=Path | None, default=None, help=out)
    data = "evaluate on this data now; adds accuracy, confusion matrix and worst mistakes to the page"
    parser.add_argument("--data.source", type=str | None, default=None, help=data)
    parser.add_class_arguments(EvaluationData, "data", skip={"source"}, instantiate=False)
    card = f"YAML file with texts for the model card, all of them optional: {', '.join(CARD_TEXTS)}"
    parser.add_argument("--card", type=Path | None, default=None, help=card)
    args = parser.read(argv)
    story = Story() if args.card is None else read_card(args.card)
    page: Path = args.out or default_page(args.path)
    if page.suffix not in (".html", ".htm") or page.is_dir():
        raise InputError(f"--out {page}: the page is a file; its name must end in .html")
    check_target(page, option="--out")
    findings = gather(args.path, data=_data(args.data), track=partial(track, description="evaluating"))
    write_page(page, findings, story=story)
    tell(f"report: {page}")


def _data(options: Namespace) -> EvaluationData | None:
    """Return the data that the options describe; None if they name no source."""
    settings: dict[str, Any] = {**options.as_dict(), "source": options.source or ""}
    data = EvaluationData(**settings)
    if options.source is None and data != EvaluationData(source=""):
        raise InputError("--data.source: is missing; the other options --data.* need it")
    return None if options.source is None else data


def default_page(path: Path) -> Path:
    """Return the default path of the page: in the folder of a run, but beside a bundle, which holds only artefacts."""
    return beside(path, "_report.html") if is_bundle(path) else path / "report.html"
