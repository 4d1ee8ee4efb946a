"""From a request to the body of its answer: admission, the request's bytes, and a thread that answers them."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from typing import final

from fastapi import HTTPException, Request

from parckit.serve.access import Admission
from parckit.serve.metrics import Meters
from parckit.serve.pipeline import Answer, AnswerForm, PictureError, Pipeline, Upload
from parckit.serve.settings import ServeSettings
from parckit.serve.uploads import read_body

_log = logging.getLogger(__name__)


@final
class Answering:
    """Answers requests with a pipeline. All calls come from the server's event loop.

    Args:
        pipeline: answers pictures; it is closed with this object.
        settings: limits.
        meters: are told how many requests are accepted.
    """

    def __init__(self, pipeline: Pipeline, settings: ServeSettings, *, meters: Meters) -> None:
        self._pipeline = pipeline
        self._settings = settings
        self._admission = Admission(settings.queue, meters=meters)
        # If more requests are accepted than there are threads, they wait here in their order.
        self._pool = ThreadPoolExecutor(min(pipeline.threads, settings.queue), thread_name_prefix="answer")

    async def answer(self, request: Request, form: AnswerForm) -> Answer:
        """Return the answer for a request.

        Raises:
            HTTPException: with the status and the line that the client gets instead.
        """
        if form not in self._pipeline.forms:
            raise HTTPException(400, f"answer={form}: this network gives {', '.join(self._pipeline.forms)}")
        settings = self._settings
        with self._admission.accepting():
            data = await read_body(request, most=settings.max_bytes, seconds=settings.upload_seconds)
            upload = Upload(data=data, content_type=request.headers.get("content-type", ""), form=form)
            return await self._run(upload)

    async def _run(self, upload: Upload) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._pipeline.answer, upload)
        except PictureError as error:
            raise HTTPException(400, str(error)) from error
        except Exception as error:
            _log.error("a picture was not answered: %s: %s", type(error).__name__, error)
            raise HTTPException(500, "the network did not answer this picture; the server's log says why") from error

    def close(self) -> None:
        """End all threads. By now every accepted request is answered, unless the time for stopping was over."""
        self._pool.shutdown(cancel_futures=True)
        self._pipeline.close()
