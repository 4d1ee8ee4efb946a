"""From a request to the body of its answer: admission, the request's bytes, and a thread that answers them."""

import asyncio
import logging
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from time import perf_counter
from typing import final

from fastapi import HTTPException, Request
from starlette.requests import ClientDisconnect

from parckit.serve.access import Admission
from parckit.serve.metrics import Meters
from parckit.serve.pipeline import Answer, AnswerForm, PictureError, Pipeline, Upload
from parckit.serve.settings import ServeSettings
from parckit.serve.uploads import Uploads

_log = logging.getLogger(__name__)


@final
class Answering:
    """Answers requests with a pipeline. All calls come from the server's event loop.

    Args:
        pipeline: answers pictures; it is closed with this object.
        settings: limits.
        meters: show how many requests are accepted, and how many are arriving.
    """

    def __init__(self, pipeline: Pipeline, settings: ServeSettings, *, meters: Meters) -> None:
        self._pipeline = pipeline
        self._admission = Admission(settings.queue, meters=meters)
        self._uploads = Uploads(settings, admission=self._admission, meters=meters)
        threads = min(pipeline.threads, settings.queue)
        self._pool = ThreadPoolExecutor(threads, thread_name_prefix="answer")
        # If more requests are accepted than there are threads, they wait here in their order.
        self._free = asyncio.Semaphore(threads)

    async def answer(self, request: Request, form: AnswerForm, *, place: ExitStack) -> Answer:
        """Return the answer for a request.

        Args:
            request: the request; its body is still to be read.
            form: form of the answer.
            place: is closed when the answer is sent; until then the request counts as accepted.

        Raises:
            HTTPException: with the status and the line that the client gets instead.
            ClientDisconnect: if the client has closed the connection before its turn came.
        """
        if form not in self._pipeline.forms:
            raise HTTPException(400, f"answer={form}: this network gives {', '.join(self._pipeline.forms)}")
        self._admission.check()
        data = await self._uploads.read(request)
        place.enter_context(self._admission.accepting())
        start = perf_counter()
        upload = Upload(data=data, content_type=request.headers.get("content-type", ""), form=form)
        async with self._free:
            if await request.is_disconnected():
                raise ClientDisconnect
            answer = await self._run(upload)
        self._admission.note(perf_counter() - start)
        return answer

    async def _run(self, upload: Upload) -> Answer:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._pool, self._pipeline.answer, upload)
        except PictureError as error:
            raise HTTPException(400, str(error)) from error
        except Exception as error:
            _log.error("a picture was not answered: %s: %s", type(error).__name__, error)
            raise HTTPException(500, "the network did not answer this picture; the server's log says why") from error

    def close(self) -> None:
        """Let all threads end. Those that still work, because the time for stopping is over, are not waited for."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._pipeline.close()
