"""Where the time of an answer goes: preprocessing, the network, and decoding its outputs."""

from collections.abc import Mapping
from dataclasses import dataclass
from time import perf_counter

import numpy as np
from PIL import Image

from parckit.measure.interleaved import rounds
from parckit.processing import Picture, make_decoder, open_picture, preprocess
from parckit.runtimes import Session

_MS_PER_S = 1e3
_PICTURE_SIZE = (640, 480)
"""Width and height of the picture that is used if the user names none: a camera's VGA."""
_COARSE = 16
"""Pixels per side of a patch of that picture. Patches compress and resize like a photograph, pure noise does not."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Stages:
    """Median times of one run, which answers one picture or a static batch of pictures.

    Attributes:
        preprocessing_ms: from the picture to the network's input, milliseconds; with the reading of the file, if the
            picture is a file.
        network_ms: the network, milliseconds.
        decoding_ms: from the network's outputs to answers, milliseconds. For boxes, it depends on how many there are.
    """

    preprocessing_ms: float
    network_ms: float
    decoding_ms: float


def sample_picture() -> Image.Image:
    """Return the picture that is used if there is no other: coloured patches, 640x480 pixels."""
    width, height = (side // _COARSE for side in _PICTURE_SIZE)
    patches = np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)
    return Image.fromarray(patches).resize(_PICTURE_SIZE, Image.Resampling.BICUBIC)


def time_stages(
    sessions: Mapping[str, Session], *, picture: Picture, seconds: float, seed: int = 0
) -> dict[str, Stages]:
    """Time the stages of all candidates in turns; see `parckit.measure.interleaved`.

    Args:
        sessions: the candidates by name.
        picture: what they answer.
        seconds: how long every candidate is measured, about.
        seed: of the order of the candidates in every round.
    """
    answers = {name: _Answer(session, picture) for name, session in sessions.items()}
    times: dict[str, list[tuple[float, float, float]]] = {name: [] for name in sessions}
    for order in rounds(list(sessions), seconds=seconds * len(sessions), seed=seed):
        for name in order:
            answers[name]()  # not timed: it fills the caches
            times[name].append(answers[name]())
    medians = {name: np.median(entries, axis=0).tolist() for name, entries in times.items()}
    return {
        name: Stages(preprocessing_ms=first, network_ms=second, decoding_ms=third)
        for name, (first, second, third) in medians.items()
    }


class _Answer:
    """Answers a picture and returns how long the stages took, milliseconds."""

    def __init__(self, session: Session, picture: Picture) -> None:
        self._session, self._picture = session, picture
        self._decoder = make_decoder(session.decoder, session.spec)

    def __call__(self) -> tuple[float, float, float]:
        session = self._session
        start = perf_counter()
        prepared = [
            preprocess(open_picture(self._picture), session.spec.preprocessing, wanted=session.input)
            for _ in range(session.batch_size)
        ]
        images = np.stack([array for array, _ in prepared])
        ready = perf_counter()
        outputs = session(images)
        done = perf_counter()
        self._decoder(outputs, [geometry for _, geometry in prepared])
        end = perf_counter()
        return (ready - start) * _MS_PER_S, (done - ready) * _MS_PER_S, (end - done) * _MS_PER_S
