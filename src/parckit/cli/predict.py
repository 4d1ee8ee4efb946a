"""`parckit predict`: answers for pictures."""

import sys
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from PIL import Image

from parckit.cli.answers import STREAMED, Format, Outcome, show_answers
from parckit.cli.choice import add_choice, choice
from parckit.cli.pictures import HELP, find_pictures
from parckit.cli.progress import track
from parckit.contract import InputError, check_folder, replacing
from parckit.options import verb_parser
from parckit.processing import Prediction, open_picture
from parckit.runtimes import Predictor, open_session

_MOST_NAMED = 10
"""Pictures that the error at the end names. Format `jsonl` tells the reason for every picture."""


def main(argv: list[str]) -> None:
    """Run the verb.

    Raises:
        InputError: at the end, if some pictures cannot be read. The answers for the others have been shown.
    """
    parser = verb_parser("predict", description="Answers for pictures.")
    parser.add_argument("model", type=Path, help="a bundle's folder, a checkpoint, or parcnet_xs.cifar10")
    parser.add_argument("images", type=str, nargs="+", help=HELP)
    add_choice(parser)
    parser.add_argument("--top", type=int | None, default=None, help="classes to show for each picture; 3 by default")
    threshold = "least probability, 0 to 1: of an answer, else it is 'unknown'; of several labels, of every label"
    parser.add_argument("--threshold", type=float | None, default=None, help=threshold)
    parser.add_argument("--draw", type=Path | None, default=None, help="folder for pictures with their answers")
    form = "how answers are printed; jsonl and csv print each one at once"
    parser.add_argument("--format", type=Format | None, default=None, help=form)
    parser.add_argument("--json", action="store_true", help="short for --format json")
    args = parser.read(argv)
    if args.json and args.format not in (None, "json"):
        raise InputError(f"--json, --format {args.format}: give one of them")
    form = "json" if args.json else args.format or "table"
    if args.draw is not None:
        check_folder(args.draw, option="--draw")
    files = find_pictures(args.images)
    # Answer every picture that can be read, and name the others.
    overrides: dict[str, float] = {name: args[name] for name in ("top", "threshold") if args[name] is not None}
    predictor = Predictor(open_session(args.model, **choice(args)), overrides=overrides)
    # A bar would be drawn between the lines of a stream.
    work = _Work(predictor, files, drawings=args.draw, bar=form not in STREAMED or not sys.stdout.isatty())
    title = f"{args.model} ({predictor.session.artefact} on {predictor.session.engine})"
    show_answers(work, form=form, title=title)
    if work.broken:
        raise InputError(_describe(work.broken))


def _describe(broken: Mapping[Path, str]) -> str:
    """Return the reason for the first picture without an answer, and the names of others."""
    (_, reason), *others = broken.items()
    names = ", ".join(str(path) for path, _ in others[:_MOST_NAMED]) + (", ..." if len(others) > _MOST_NAMED else "")
    return f"{reason}; {len(others)} more cannot be read: {names}" if others else reason


class _Work:
    """Goes through picture files and gives their answers.

    Attributes:
        broken: files that cannot be read, and why.
    """

    def __init__(self, predictor: Predictor, files: Sequence[Path], *, drawings: Path | None, bar: bool) -> None:
        self.broken: dict[Path, str] = {}
        self._predictor = predictor
        self._files = files
        self._drawings = drawings
        self._bar = bar
        self._times_drawn = Counter[str]()
        # The predictor takes several pictures before it gives their answers. In place of a broken one is the reason.
        self._waiting = deque[tuple[Path, Image.Image | str]]()

    def __iter__(self) -> Iterator[Outcome]:
        for answer in self._predictor.predict(self._pictures()):
            yield from self._broken_ones()
            path, picture = self._waiting.popleft()
            if self._drawings is not None and not isinstance(picture, str):
                self._draw(answer, path, picture, folder=self._drawings)
            yield path, answer
        yield from self._broken_ones()

    def _broken_ones(self) -> Iterator[Outcome]:
        """Give the broken pictures before the next answer."""
        while self._waiting and isinstance(reason := self._waiting[0][1], str):
            yield self._waiting.popleft()[0], reason

    def _pictures(self) -> Iterator[Image.Image]:
        for path in track(self._files, description="predicting") if self._bar else self._files:
            try:
                picture = open_picture(path)
            except InputError as error:
                self.broken[path] = str(error)
                self._waiting.append((path, str(error)))
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
