"""A picture in, an answer out: a session joined with `parckit.processing`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import cast

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, Precision, Setting
from parckit.processing import (
    BOX_OVERLAP,
    BoxPrediction,
    Geometry,
    Picture,
    Prediction,
    TileSettings,
    WindowSettings,
    cut_tiles,
    make_decoder,
    merge_tiles,
    open_picture,
    preprocess,
    whole_picture,
)
from parckit.runtimes.open import open_session
from parckit.runtimes.protocol import Session
from parckit.runtimes.windows import WindowSession


class Predictor:
    """Answers for pictures.

    Args:
        session: a network loaded into an engine.
        overrides: values in place of the decoder's defaults, such as `top` and `threshold` of a classifier.
        tiles: cut large pictures into tiles; only for detectors and networks that segment. A detector answers the tiles
            and the whole picture, and the boxes are merged. A network that segments sees the picture through the tiles
            at its own size, also a small one; where tiles overlap, their logits are averaged. None answers whole
            pictures only.

    Attributes:
        session: as given.
        labels: class names by index.

    Raises:
        InputError: if the decoder has no such value, or refuses it, or the network cannot answer tiles.
    """

    def __init__(
        self,
        session: Session,
        *,
        overrides: Mapping[str, Setting] | None = None,
        tiles: TileSettings | None = None,
    ) -> None:
        task = session.spec.task
        if tiles is not None and task not in ("detect", "segment"):
            raise InputError(f"tiles: are for detectors and networks that segment; this network's task is {task!r}")
        self.session = session
        self.labels = session.spec.labels
        self._session, self._tiles = session, tiles
        if tiles is not None and task == "segment":
            self._session, self._tiles = WindowSession(session, WindowSettings(tiles=tiles)), None
        self._decoder = make_decoder(self._session.decoder, session.spec, overrides=overrides)

    def __call__(self, picture: Picture) -> Prediction:
        """Return the answer for one picture.

        Args:
            picture: a file, a Pillow image, or (H, W, 3) RGB or (H, W) grey pixels, uint8.

        Raises:
            InputError: if the picture cannot be read.
        """
        (answer,) = self.predict([picture])
        return answer

    def predict(self, pictures: Iterable[Picture]) -> Iterator[Prediction]:
        """Return the answers one by one, in order; the engine gets as many pictures at once as it takes.

        Raises:
            InputError: at the first picture that cannot be read.
        """
        if self._tiles is None:
            yield from self._answers(pictures)
            return
        for picture in pictures:
            yield self._tiled(open_picture(picture), self._tiles)

    def _tiled(self, picture: Image.Image, tiles: TileSettings) -> Prediction:
        size = (picture.height, picture.width)
        overlap = BOX_OVERLAP if tiles.overlap is None else tiles.overlap
        windows = cut_tiles(size, size=tiles.size or self.session.spec.preprocessing.size, overlap=overlap)
        whole = (0, 0, picture.width, picture.height)
        if windows == [whole]:
            return next(self._answers([picture]))
        # In the whole picture are the objects that no tile shows completely.
        windows.append(whole)
        answers = [cast("BoxPrediction", answer) for answer in self._answers(map(picture.crop, windows))]
        return merge_tiles(answers, windows, picture_size=size)

    def _answers(self, pictures: Iterable[Picture]) -> Iterator[Prediction]:
        """Return the answers for whole pictures or for tiles, in order."""
        remaining = iter(pictures)
        while group := list(islice(remaining, self._session.batch_size)):
            prepared = [self._prepare(open_picture(picture)) for picture in group]
            outputs = self._session(np.stack([array for array, _ in prepared]))
            yield from self._decoder(outputs, [geometry for _, geometry in prepared])

    def _prepare(self, picture: Image.Image) -> tuple[NDArray[np.generic], Geometry]:
        prepare = whole_picture if isinstance(self._session, WindowSession) else preprocess
        return prepare(picture, self._session.spec.preprocessing, wanted=self._session.input)

    def __repr__(self) -> str:
        spec = self.session.spec
        height, width = spec.preprocessing.size
        facts = f"{spec.task}, {len(self.labels)} classes, input {height}x{width}, {self.session.engine}"
        return f"Predictor({self.session.artefact}: {spec.backbone}, {facts})"


def load(
    path: Path | str,
    *,
    runtime: str | None = None,
    precision: Precision | None = None,
    artefact: str | None = None,
    threads: int | None = None,
    tiles: TileSettings | None = None,
    **overrides: Setting,
) -> Predictor:
    """Open a checkpoint or a bundle for predictions: `parckit.load("bundle")("photo.jpg")`.

    Args:
        path: a bundle's folder, a checkpoint, the name of weights that ship with parckit, or an `.onnx` of parckit's.
        runtime: the engine; by default the first one that fits.
        precision: choose among a bundle's artefacts by their precision.
        artefact: choose a bundle's artefact by its name.
        threads: threads of one inference; None leaves the number to the engine.
        tiles: cut large pictures into tiles, such as `parckit.processing.TileSettings(size=(320, 320))`; see
            `Predictor`.
        overrides: values in place of the decoder's defaults; a classifier has `top` and `threshold`.

    Raises:
        InputError: if there is nothing usable at `path`, or nothing in it fits what was asked for.
    """
    session = open_session(path, runtime=runtime, precision=precision, artefact=artefact, threads=threads)
    return Predictor(session, overrides=overrides, tiles=tiles)
