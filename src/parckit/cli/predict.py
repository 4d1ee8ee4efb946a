"""`parckit predict`: answers for pictures and for the frames of videos."""

import re
import sys
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jsonargparse import Namespace
from PIL import Image

from parckit.cli.answers import Format, Outcome, show_answers
from parckit.cli.choice import add_choice, add_overrides, choice, overrides
from parckit.cli.coco_answers import CocoNumbers
from parckit.cli.drawings import Drawings
from parckit.cli.mask_files import MaskFiles
from parckit.cli.pictures import HELP, find_pictures
from parckit.cli.progress import track
from parckit.contract import InputError, check_folder
from parckit.options import Parser, parse_size, verb_parser
from parckit.processing import (
    BOX_OVERLAP,
    PIXEL_OVERLAP,
    TileSettings,
    describe_video,
    is_video,
    open_picture,
    read_video,
)
from parckit.runtimes import Predictor, open_session

_MOST_NAMED = 10
"""Files that the error at the end names. Format `jsonl` tells the reason for every one."""
_INPUT_SIZE = "input"
"""What `--tiles` alone means: tiles as large as the network's input."""
_SIZE = r"\d[\d.,xX*]*"
"""Text of this form after `--tiles` is meant as a size, even if it is a wrong one. Any other text is a picture."""


def main(argv: list[str]) -> None:
    """Run the verb.

    Raises:
        InputError: at the end, if some files cannot be read, or the annotations lack some frames of a video. The
            answers for all others have been shown.
    """
    parser = verb_parser("predict", description="Answers for pictures, and for the frames of videos.")
    _add_options(parser)
    args = parser.read(_complete_tiles(argv))
    form = _check_options(args)
    tiles = _tiles(args.tiles, overlap=args.tile_overlap)
    files = find_pictures(args.images)
    if form in ("json", "coco"):  # an object has every name once; boxes that come twice would count as wrong
        files = list(dict.fromkeys(files))
    # Answer every picture that can be read, and name the others.
    predictor = Predictor(open_session(args.model, **choice(args)), overrides=overrides(args), tiles=tiles)
    spec = predictor.session.spec
    masks = MaskFiles(args.masks, labels=spec.labels, task=spec.task, pictures=files)
    numbers = CocoNumbers.of(spec, args.annotations, files=files) if form == "coco" else None
    if args.annotations is not None and numbers is None:
        raise InputError(f"--annotations {args.annotations}: is for --format coco")
    has_videos = any(map(is_video, files))
    # A bar would be drawn between the lines that are printed meanwhile.
    bar = not sys.stdout.isatty() or (form == "table" and not has_videos)
    work = _Work(predictor, files, every=args.every, drawings=args.draw, masks=masks, bar=bar)
    title = f"{args.model} ({predictor.session.artefact} on {predictor.session.engine})"
    show_answers(work, form=form, title=title, has_videos=has_videos, numbers=numbers)
    lacking = {} if numbers is None else numbers.lacking
    if incomplete := {**lacking, **work.broken}:
        raise InputError(_describe(incomplete))


def _add_options(parser: Parser) -> None:
    shipped = (
        "parcnet_xs.cifar10 (ten classes), tinydet_parcnet_xs.bccd (boxes of blood cells) or "
        "upernet_parc_resnet10t.digit_scenes (pixels of handwritten digits)"
    )
    parser.add_argument(
        "model", type=Path, help=f"a bundle's folder, a checkpoint, or weights of the package: {shipped}"
    )
    parser.add_argument("images", type=str, nargs="+", help=HELP)
    add_choice(parser)
    add_overrides(parser)
    draw = "folder for pictures and videos with their answers, such as boxes"
    parser.add_argument("--draw", type=Path | None, default=None, help=draw)
    masks = (
        "folder for masks of networks that segment: the pixels of STEM_mask.png are class numbers, 255 for no class; "
    )
    masks += "classes.txt names the classes"
    parser.add_argument("--masks", type=Path | None, default=None, help=masks)
    form = "how answers are printed: csv has a line for each class or box; coco is what pycocotools' loadRes reads"
    parser.add_argument("--format", type=Format | None, default=None, help=form)
    parser.add_argument("--json", action="store_true", help="short for --format json")
    annotations = "for --format coco: COCO file with the numbers of images and categories; written if it does not exist"
    parser.add_argument("--annotations", type=Path | None, default=None, help=annotations)
    parser.add_argument("--every", type=int, default=1, help="N: answer every Nth frame of a video")
    tiles = "cut large pictures into overlapping tiles: HEIGHTxWIDTH or one number, pixels of the picture; "
    tiles += "--tiles without a size takes the size of the network's input"
    parser.add_argument("--tiles", type=str | None, nargs="?", default=None, help=tiles)
    overlap = (
        f"least share of a tile's sides by which it overlaps the next one; by default {BOX_OVERLAP} for boxes, and "
    )
    overlap += f"{PIXEL_OVERLAP:.2f} for the classes of pixels"
    parser.add_argument("--tile_overlap", type=float | None, default=None, help=overlap)


def _check_options(args: Namespace) -> Format:
    """Check options that do not depend on the network, and return the format of the answers.

    Raises:
        InputError: naming the option.
    """
    if args.json and args.format not in (None, "json"):
        raise InputError(f"--json, --format {args.format}: give one of them")
    for name in ("draw", "masks"):
        if args[name] is not None:
            check_folder(args[name], option=f"--{name}")
            _check_apart(args[name], args.images, option=f"--{name}")
    if args.every < 1:
        raise InputError(f"--every {args.every}: must be a whole number of frames, at least 1")
    return "json" if args.json else args.format or "table"


def _check_apart(folder: Path, images: Sequence[str], *, option: str) -> None:
    """Refuse a folder inside one that is searched for pictures: a second run would answer what the first one wrote."""
    for searched in map(Path, images):
        if searched.is_dir() and folder.resolve().is_relative_to(searched.resolve()):
            wrong = f"{option} {folder}: lies in {searched}, so that a second run would take its files for pictures"
            raise InputError(f"{wrong}; name a folder elsewhere")


def _complete_tiles(argv: Sequence[str]) -> list[str]:
    """Give `--tiles` without a size the value that it means, or it would take the next picture as its value.

    It moves to the front, because no option may stand between two pictures.
    """
    pairs = zip(argv, (*argv[1:], ""), strict=True)
    others = [arg for arg, following in pairs if arg != "--tiles" or re.fullmatch(_SIZE, following)]
    return others if len(others) == len(argv) else [f"--tiles={_INPUT_SIZE}", *others]


def _tiles(size: str | None, *, overlap: float | None) -> TileSettings | None:
    if size is None:
        if overlap is not None:
            raise InputError(f"--tile_overlap {overlap}: is for --tiles")
        return None
    parsed = None if size == _INPUT_SIZE else parse_size(size, option="--tiles")
    return TileSettings(size=parsed, overlap=overlap)


def _describe(incomplete: Mapping[Path, str]) -> str:
    """Return the reason for the first file whose answer is missing or incomplete, and the names of others."""
    (_, reason), *others = incomplete.items()
    names = ", ".join(str(path) for path, _ in others[:_MOST_NAMED]) + (", ..." if len(others) > _MOST_NAMED else "")
    return f"{reason}; {len(others)} more without a complete answer: {names}" if others else reason


class _Shot(NamedTuple):
    """A picture or a frame that waits for its answer; in place of a broken one is the reason."""

    path: Path
    picture: Image.Image | str
    frame: int | None = None
    seconds: float | None = None


class _Work:
    """Goes through picture and video files and gives their answers.

    Attributes:
        broken: files that cannot be read, or only in part, and why.
    """

    def __init__(
        self,
        predictor: Predictor,
        files: Sequence[Path],
        *,
        every: int,
        drawings: Path | None,
        masks: MaskFiles,
        bar: bool,
    ) -> None:
        self.broken: dict[Path, str] = {}
        self._predictor = predictor
        self._files = files
        self._every = every
        self._drawings = drawings
        self._masks = masks
        self._bar = bar
        # The predictor takes several pictures before it gives their answers.
        self._waiting = deque[_Shot]()

    def __iter__(self) -> Iterator[Outcome]:
        with Drawings(self._drawings, every=self._every, pictures=self._files) as drawings:
            for answer in self._predictor.predict(self._pictures()):
                yield from self._broken_ones(drawings)
                path, picture, frame, seconds = self._waiting.popleft()
                assert isinstance(picture, Image.Image)  # noqa: S101 - the broken ones have been given
                drawings.add(answer.draw, path, picture, seconds=seconds, is_first=frame == 0)
                self._masks.add(answer, path, frame=frame)
                yield Outcome(path, answer, picture.size, frame, seconds)
            yield from self._broken_ones(drawings)

    def _broken_ones(self, drawings: Drawings) -> Iterator[Outcome]:
        """Give the broken files before the next answer."""
        while self._waiting and isinstance(reason := self._waiting[0].picture, str):
            drawings.finish_video()
            yield Outcome(self._waiting.popleft().path, reason)

    def _pictures(self) -> Iterator[Image.Image]:
        for shot in track(self._shots(), description="predicting", total=self._count()) if self._bar else self._shots():
            self._waiting.append(shot)
            if isinstance(shot.picture, str):
                self.broken[shot.path] = shot.picture
            else:
                yield shot.picture

    def _shots(self) -> Iterator[_Shot]:
        for path in self._files:
            try:
                if not is_video(path):
                    yield _Shot(path, open_picture(path))
                    continue
                for frame in read_video(path, every=self._every):
                    yield _Shot(path, frame.picture, frame.number, frame.seconds)
            except InputError as error:
                yield _Shot(path, str(error))

    def _count(self) -> int | None:
        """Return the number of pictures and frames; None if a video does not tell."""
        count = 0
        for path in self._files:
            try:
                frames = describe_video(path).frames if is_video(path) else self._every
            except InputError:
                continue
            if frames is None:
                return None
            count += -(-frames // self._every)
        return count
