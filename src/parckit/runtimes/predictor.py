"""A picture in, an answer out: a session joined with `parckit.processing`."""

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from pathlib import Path

import numpy as np

from parckit.contract import Precision, Setting
from parckit.processing import Picture, Prediction, make_decoder, open_picture, preprocess
from parckit.runtimes.open import open_session
from parckit.runtimes.protocol import Session


class Predictor:
    """Answers for pictures.

    Args:
        session: a network loaded into an engine.
        overrides: values in place of the decoder's defaults, such as `top` and `threshold` of a classifier.

    Attributes:
        session: as given.
        labels: class names by index.

    Raises:
        InputError: if the decoder has no such value, or refuses it.
    """

    def __init__(self, session: Session, *, overrides: Mapping[str, Setting] | None = None) -> None:
        self.session = session
        self.labels = session.spec.labels
        self._decoder = make_decoder(session.decoder, session.spec, overrides=overrides)

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
        remaining = iter(pictures)
        while group := list(islice(remaining, self.session.batch_size)):
            prepared = [
                preprocess(open_picture(picture), self.session.spec.preprocessing, wanted=self.session.input)
                for picture in group
            ]
            outputs = self.session(np.stack([array for array, _ in prepared]))
            yield from self._decoder(outputs, [geometry for _, geometry in prepared])

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
    **overrides: Setting,
) -> Predictor:
    """Open a checkpoint or a bundle for predictions: `parckit.load("bundle")("photo.jpg")`.

    Args:
        path: a bundle's folder, a checkpoint, the name of weights that ship with parckit, or an `.onnx` of parckit's.
        runtime: the engine; by default the first one that fits.
        precision: choose among a bundle's artefacts by their precision.
        artefact: choose a bundle's artefact by its name.
        threads: threads of one inference; None leaves the number to the engine.
        overrides: values in place of the decoder's defaults; a classifier has `top` and `threshold`.

    Raises:
        InputError: if there is nothing usable at `path`, or nothing in it fits what was asked for.
    """
    session = open_session(path, runtime=runtime, precision=precision, artefact=artefact, threads=threads)
    return Predictor(session, overrides=overrides)
