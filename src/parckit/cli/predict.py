"""`parckit predict`: answers for pictures."""

from collections import Counter, deque
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from parckit.cli.choice import add_choice, choice
from parckit.cli.progress import track
from parckit.cli.tables import show, to_json
from parckit.contract import InputError, replacing
from parckit.options import verb_parser
from parckit.processing import Prediction, list_images, open_picture
from parckit.runtimes import Predictor, open_session


def main(argv: list[str]) -> None:
    """Run the verb.

    Raises:
        InputError: at the end, if some pictures cannot be read. The answers for the others have been shown.
    """
    parser = verb_parser("predict", description="Answers for pictures.")
    parser.add_argument("model", type=Path, help="a bundle's folder, a checkpoint, or parcnet_xs.cifar10")
    parser.add_argument("images", type=Path, nargs="+", help="picture files, or folders of them")
    add_choice(parser)
    parser.add_argument("--top", type=int | None, default=None, help="classes to show for each picture; 3 by default")
    threshold = "least probability of an answer, 0 to 1; below it the answer is 'unknown'"
    parser.add_argument("--threshold", type=float | None, default=None, help=threshold)
    parser.add_argument("--draw", type=Path | None, default=None, help="folder for pictures with their answers")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    args = parser.read(argv)
    # Answer every picture that can be read.
    overrides: dict[str, float] = {name: args[name] for name in ("top", "threshold") if args[name] is not None}
    predictor = Predictor(open_session(args.model, **choice(args)), overrides=overrides)
    files = [file for path in args.images for file in (list_images(path) if path.is_dir() else [path])]
    work = _Work(predictor, files, drawings=args.draw)
    answers = list(work)
    # Show the answers, and name the pictures that have none.
    if args.json:
        plain = {str(path): answer.to_plain() for path, answer in answers}
        print(to_json(plain, indent=2))
    elif answers:
        title = f"{args.model} ({predictor.session.artefact} on {predictor.session.engine})"
        rows = [row for path, answer in answers for row in _rows(path, answer)]
        show(title, ("picture", *answers[0][1].columns), rows)
    if work.broken:
        first, *others = work.broken
        more = f"; {len(others)} more cannot be read: {', '.join(map(str, others))}" if others else ""
        raise InputError(f"{work.broken[first]}{more}")


def _rows(path: Path, answer: Prediction) -> list[tuple[str, ...]]:
    """Return a table's rows for a picture; only the first one names it."""
    return [(str(path) if number == 0 else "", *cells) for number, cells in enumerate(answer.rows())]


class _Work:
    """Goes through picture files and gives their answers.

    Attributes:
        broken: files that cannot be read, and why.
    """

    def __init__(self, predictor: Predictor, files: Sequence[Path], *, drawings: Path | None) -> None:
        self.broken: dict[Path, str] = {}
        self._predictor = predictor
        self._files = files
        self._drawings = drawings
        self._times_drawn = Counter[str]()
        # The predictor takes several pictures before it gives their answers.
        self._waiting = deque[tuple[Path, Image.Image]]()

    def __iter__(self) -> Iterator[tuple[Path, Prediction]]:
        for answer in self._predictor.predict(self._pictures()):
            path, picture = self._waiting.popleft()
            if self._drawings is not None:
                self._draw(answer, path, picture, folder=self._drawings)
            yield path, answer

    def _pictures(self) -> Iterator[Image.Image]:
        for path in track(self._files, description="predicting"):
            try:
                picture = open_picture(path)
            except InputError as error:
                self.broken[path] = str(error)
                continue
            self._waiting.append((path, picture))
            yield picture

    def _draw(self, answer: Prediction, path: Path, picture: Image.Image, *, folder: Path) -> None:
        # Pictures of different folders may have the same name.
        self._times_drawn[path.name] += 1
        times = self._times_drawn[path.name]
        name = f"{path.name}.answer.png" if times == 1 else f"{path.name}.{times}.answer.png"
        with replacing(folder / name) as temporary:
            answer.draw(picture).save(temporary, format="PNG")
