"""From the bytes of a request to the bytes of its answer, in threads: decode, prepare, run in a batch, tell."""

import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from io import BytesIO
from typing import Literal, NamedTuple, cast, final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from parckit.contract import InputError, Setting
from parckit.measure.environment import usable_cores
from parckit.processing import Geometry, MaskPrediction, Prediction, decode_image, make_decoder, preprocess
from parckit.runtimes import Outputs, Session
from parckit.serve.batching import Batcher
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


class _Prepared(NamedTuple):
    picture: Image.Image
    image: NDArray[np.generic]
    geometry: Geometry


@final
class Pipeline:
    """Answers uploads. Some threads decode and prepare pictures, some run the network, and some tell the answers.

    Args:
        sessions: the network, once for each inference at the same time.
        settings: limits and numbers of threads.
        overrides: values in place of the decoder's defaults.
        meters: are told what happens.

    Attributes:
        session: the first one.

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
        workers = settings.decoders or usable_cores()
        self._preparing = ThreadPoolExecutor(workers, thread_name_prefix="prepare")
        # They have threads of their own, so that a finished inference does not wait behind pictures that came later.
        self._telling = ThreadPoolExecutor(workers, thread_name_prefix="tell")
        self._batcher = Batcher(
            sessions, most=settings.batch, wait=settings.wait_ms / 1000, on_batch=meters.count_batch
        )

    @property
    def is_alive(self) -> bool:
        """Whether uploads can be answered."""
        return self._batcher.is_alive

    def check_form(self, form: AnswerForm) -> None:
        """Raise PictureError if the network cannot give an answer of this form."""
        task = self.session.spec.task
        if form == "mask" and task != "segment":
            raise PictureError(f"answer=mask: is for networks that segment; this network's task is {task!r}")

    def submit(self, upload: Upload) -> "Future[Answer]":
        """Return the answer, which is a `PictureError` if the upload holds no usable picture."""
        answer: Future[Answer] = Future()
        self._preparing.submit(self._prepare, upload, answer)
        return answer

    def close(self) -> None:
        """Answer all uploads, and end the threads."""
        self._preparing.shutdown()
        self._batcher.close()
        self._telling.shutdown()

    def _prepare(self, upload: Upload, answer: "Future[Answer]") -> None:
        def tell(outputs: "Future[Outputs]") -> None:
            self._telling.submit(_settle, answer, lambda: self._tell(prepared, outputs.result(), upload.form))

        try:
            with self._meters.stage("prepare"):
                prepared = self._read(upload)
        except Exception as error:
            answer.set_exception(error)
            return
        self._batcher.submit(prepared.image).add_done_callback(tell)

    def _read(self, upload: Upload) -> _Prepared:
        try:
            data, name = find_picture(upload.data, upload.content_type)
            picture = decode_image(data, name=name, limit=self._pixels)
        except InputError as error:
            raise PictureError(str(error)) from error
        image, geometry = preprocess(picture, self.session.spec.preprocessing, wanted=self.session.input)
        return _Prepared(picture, image, geometry)

    def _tell(self, prepared: _Prepared, outputs: Outputs, form: AnswerForm) -> Answer:
        with self._meters.stage("tell"):
            (prediction,) = self._decoder(outputs, [prepared.geometry])
            return _FORMS[form](prediction, prepared.picture, self.session.spec.task)


def _settle(answer: "Future[Answer]", work: Callable[[], Answer]) -> None:
    """Do the work, and give its result or its error to those who wait for the answer."""
    try:
        answer.set_result(work())
    except Exception as error:
        answer.set_exception(error)


def _json(prediction: Prediction, picture: Image.Image, task: str) -> Answer:
    told = {"task": task, "width": picture.width, "height": picture.height, "answer": prediction.to_plain()}
    return Answer(json.dumps(told, allow_nan=False).encode(), "application/json")


def _drawing(prediction: Prediction, picture: Image.Image, task: str) -> Answer:
    del task
    return _encoded(prediction.draw(picture), "JPEG", quality=_JPEG_QUALITY)


def _mask(prediction: Prediction, picture: Image.Image, task: str) -> Answer:
    del picture, task
    # `Pipeline.check_form` has refused networks that do not segment.
    return _encoded(cast("MaskPrediction", prediction).to_image(), "PNG")


def _encoded(image: Image.Image, kind: str, **options: int) -> Answer:
    content = BytesIO()
    image.save(content, kind, **options)
    return Answer(content.getvalue(), f"image/{kind.lower()}")


_FORMS: Mapping[AnswerForm, Callable[[Prediction, Image.Image, str], Answer]] = {
    "json": _json,
    "drawing": _drawing,
    "mask": _mask,
}
