"""From the bytes of a request to the bytes of its answer: decode, prepare, run, answer."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from threading import Semaphore
from typing import Literal, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, Setting
from parckit.measure.environment import usable_cores
from parckit.processing import Geometry, MaskPrediction, Prediction, decode_image, make_decoder, preprocess
from parckit.runtimes import Session
from parckit.serve.batching import make_runner
from parckit.serve.jpeg import check_jpeg
from parckit.serve.metrics import Meters
from parckit.serve.settings import ServeSettings
from parckit.serve.uploads import find_picture

AnswerForm = Literal["json", "drawing", "mask"]
"""What a client wants: the answer as JSON, the picture with the answer drawn on it, or the class of every pixel."""
_JPEG_QUALITY = 90
"""Drawings are for eyes: at this quality nobody sees a loss, and a file has a tenth of the bytes of a PNG."""


class PictureError(InputError):
    """The request holds no picture that can be answered; the fault is the client's."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Upload:
    """The body of a request.

    Attributes:
        data: its bytes.
        content_type: its header; a form if it begins with `multipart/form-data`, else the picture itself.
        form: form of the answer.
    """

    data: bytes
    content_type: str
    form: AnswerForm = "json"


class Answer(NamedTuple):
    """The body of an answer.

    Attributes:
        content: its bytes.
        media_type: their type, such as `application/json`.
    """

    content: bytes
    media_type: str


@final
class Pipeline:
    """Answers uploads. `answer` may be called by many threads at once, and blocks.

    Args:
        sessions: the network, once for each inference at the same time.
        settings: limits and numbers of threads.
        overrides: values in place of the decoder's defaults.
        meters: take the times.

    Attributes:
        session: the first one.
        threads: calls of `answer` that keep the network and all decoding threads busy.

    Raises:
        InputError: if the decoder refuses a value.
    """

    def __init__(
        self,
        sessions: Sequence[Session],
        settings: ServeSettings,
        *,
        overrides: Mapping[str, Setting] | None = None,
        meters: Meters,
    ) -> None:
        self.session = sessions[0]
        self._pixels = settings.pixels
        self._meters = meters
        self._decoder = make_decoder(self.session.decoder, self.session.spec, overrides=overrides)
        self._runner = make_runner(
            sessions, most=settings.batch, wait=settings.wait_ms / 1000, on_batch=meters.count_batch
        )
        decoders = settings.decoders or usable_cores()
        # Decoding and drawing need memory and a core, so only some threads do it. The others wait for the network.
        self._decoding = Semaphore(decoders)
        self.threads = decoders + self._runner.images

    @property
    def is_alive(self) -> bool:
        """Whether uploads can be answered."""
        return self._runner.is_alive

    @property
    def forms(self) -> tuple[AnswerForm, ...]:
        """The forms of answers that the network can give."""
        return ("json", "drawing", "mask") if self.session.spec.task == "segment" else ("json", "drawing")

    def answer(self, upload: Upload) -> Answer:
        """Return the answer for an upload.

        Raises:
            PictureError: if the upload holds no picture that can be read.
        """
        # A decoded picture is large. It never waits for the network: a drawing decodes its picture again.
        with self._decoding, self._meters.stage("prepare"):
            image, geometry = self._prepare(upload)
        outputs = self._runner.run(image)
        with self._decoding, self._meters.stage("answer"):
            (prediction,) = self._decoder(outputs, [geometry])
            if upload.form == "drawing":
                return _encoded(prediction.draw(self._read(upload)), "JPEG", quality=_JPEG_QUALITY)
            if upload.form == "mask":
                # `forms` has it only for networks that segment.
                return _encoded(cast("MaskPrediction", prediction).to_image(), "PNG")
            return _json(prediction, self.session.spec.task, size=geometry.picture_size)

    def close(self) -> None:
        """End the threads of the network. No call of `answer` may follow."""
        self._runner.close()

    def _prepare(self, upload: Upload) -> tuple[NDArray[np.generic], Geometry]:
        return preprocess(self._read(upload), self.session.spec.preprocessing, wanted=self.session.input)

    def _read(self, upload: Upload) -> Image.Image:
        try:
            data, name = find_picture(upload.data, upload.content_type)
            check_jpeg(data, name=name)
            return decode_image(data, name=name, limit=self._pixels)
        except InputError as error:
            raise PictureError(str(error)) from error


def _json(prediction: Prediction, task: str, *, size: tuple[int, int]) -> Answer:
    height, width = size
    plain = {"task": task, "width": width, "height": height, "answer": prediction.to_plain()}
    return Answer(json.dumps(plain, allow_nan=False).encode(), "application/json")


def _encoded(image: Image.Image, kind: str, **options: int) -> Answer:
    content = BytesIO()
    image.save(content, kind, **options)
    return Answer(content.getvalue(), f"image/{kind.lower()}")
