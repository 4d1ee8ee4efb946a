"""`parckit predict`: answers for pictures."""

import json
from pathlib import Path

from parckit.cli.choice import add_choice, choice
from parckit.cli.tables import show
from parckit.options import verb_parser
from parckit.processing import ClassPrediction, Prediction
from parckit.runtimes import Predictor, open_session


def main(argv: list[str]) -> None:
    """Run the verb."""
    parser = verb_parser("predict", description="Answers for pictures.")
    parser.add_argument("model", type=Path, help="a bundle's folder, a checkpoint, or parcnet_xs.cifar10")
    parser.add_argument("images", type=Path, nargs="+", help="picture files")
    add_choice(parser)
    parser.add_argument("--top", type=int | None, default=None, help="classes to show for each picture; 3 by default")
    threshold = "least probability of an answer, 0 to 1; below it the answer is 'unknown'"
    parser.add_argument("--threshold", type=float | None, default=None, help=threshold)
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.read(argv)
    overrides: dict[str, float] = {name: args[name] for name in ("top", "threshold") if args[name] is not None}
    predictor = Predictor(open_session(args.model, **choice(args)), overrides=overrides)
    answers = dict(zip(map(str, args.images), predictor.predict(args.images), strict=True))
    if args.json:
        print(json.dumps({path: answer.to_plain() for path, answer in answers.items()}, indent=2, ensure_ascii=False))
        return
    rows = [row for path, answer in answers.items() for row in _rows(path, answer)]
    session = predictor.session
    show(f"{args.model} ({session.artefact} on {session.engine})", ("picture", "class", "probability %"), rows)


def _rows(path: str, answer: Prediction) -> list[tuple[str, str, str]]:
    """Return a table's rows for a picture; only the first one names it."""
    lines = answer.rows() if isinstance(answer, ClassPrediction) else []
    return [
        (path if number == 0 else "", label, "" if probability is None else f"{100 * probability:.1f}")
        for number, (label, probability) in enumerate(lines)
    ]
