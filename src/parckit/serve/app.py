"""The routes of the server: `/predict`, `/healthz`, `/readyz`, `/metrics`, and the OpenAPI page at `/docs`.

It is FastAPI on uvicorn, with a bound of our own on the requests in work. LitServe was looked at: its queue has no
bound at which it answers 503, and it runs the network in other processes, to which every picture would be copied.
"""

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, final

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, PlainTextResponse
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST
from starlette.exceptions import HTTPException as RouteError
from starlette.requests import ClientDisconnect

from parckit.contract import VERSION
from parckit.runtimes import Session
from parckit.serve.access import check_token
from parckit.serve.answering import Answering
from parckit.serve.metrics import Meters
from parckit.serve.pipeline import AnswerForm, Pipeline
from parckit.serve.settings import ServeSettings

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

_PREDICT = "/predict"
_CLIENT_HAS_GONE = 499
"""What nginx, too, counts for a client that closed the connection before it got its answer. Nobody receives it."""
_BINARY = {"schema": {"type": "string", "format": "binary"}}
_BODY = {
    "requestBody": {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {"type": "object", "required": ["image"], "properties": {"image": _BINARY["schema"]}}
            },
            "image/*": _BINARY,
        },
    }
}
"""What OpenAPI says about the body of /predict. FastAPI cannot know it, because the limits need the raw bytes."""
_EXAMPLE = {"task": "classify", "width": 640, "height": 480, "answer": [{"class": "cat", "probability": 0.97}]}
_REFUSALS = {
    400: "No picture, or one that cannot be read.",
    401: "The token is missing or wrong.",
    408: "The bytes took too long to arrive.",
    413: "Too many bytes.",
    503: "Too many requests are in work; `Retry-After` says in how many seconds to try again.",
}


def make_app(
    pipeline: Pipeline,
    settings: ServeSettings,
    *,
    meters: Meters,
    token: str | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> FastAPI:
    """Return the application that answers HTTP requests.

    Args:
        pipeline: answers pictures; it is closed when the application ends.
        settings: limits.
        meters: the numbers that `/metrics` shows.
        token: what clients must send to use `/predict` and `/metrics`; None lets everybody use them.
        is_stopping: whether the server has been told to stop.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        answering.close()

    answering = Answering(pipeline, settings, meters=meters)
    app = FastAPIOffline(
        redoc_url=None,
        title="parckit",
        version=VERSION,
        description=_describe(pipeline.session),
        lifespan=lifespan,
    )
    bearer = HTTPBearer(auto_error=False, description="The token that the server was started with, if it was.")

    async def check_client(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        check_token(credentials and credentials.credentials, token=token)

    _add_probes(app, pipeline, is_stopping=is_stopping)
    _add_predict(app, answering, guard=check_client)

    @app.get("/metrics", dependencies=[Depends(check_client)], response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(meters.text(), media_type=CONTENT_TYPE_LATEST)

    _tell_errors_in_one_line(app)
    app.add_middleware(_Counted, meters=meters)
    return app


def _describe(session: Session) -> str:
    labels = ", ".join(session.spec.labels)
    return f"Task `{session.spec.task}`, artefact `{session.artefact}` on {session.engine}. Classes: {labels}."


def _add_probes(app: FastAPI, pipeline: Pipeline, *, is_stopping: Callable[[], bool]) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process runs."""
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, responses={503: {"description": "It cannot answer now."}})
    async def readyz() -> str:
        """The network is loaded, and the server has not been told to stop."""
        if is_stopping() or not pipeline.is_alive:
            raise HTTPException(503, "stopping" if is_stopping() else "the network's thread has ended")
        return "ready"


def _add_predict(app: FastAPI, answering: Answering, *, guard: Callable[..., object]) -> None:
    @app.post(
        _PREDICT,
        dependencies=[Depends(guard)],
        openapi_extra=_BODY,
        response_class=Response,
        responses={
            200: {
                "description": "The answer, or a picture of it.",
                "content": {"application/json": {"example": _EXAMPLE}, "image/jpeg": _BINARY, "image/png": _BINARY},
            },
            **{status: {"description": reason} for status, reason in _REFUSALS.items()},
        },
    )
    async def predict(request: Request, answer: AnswerForm = "json") -> Response:
        """Answer one picture: its file as the body, or as the only file of a form."""
        content, media_type = await answering.answer(request, answer)
        return Response(content, media_type=media_type)


def _tell_errors_in_one_line(app: FastAPI) -> None:
    """Let every error be `{"error": LINE}`."""

    @app.exception_handler(RouteError)
    async def refuse(_: Request, error: RouteError) -> Response:
        return JSONResponse({"error": error.detail}, error.status_code, error.headers)

    @app.exception_handler(RequestValidationError)
    async def refuse_query(_: Request, error: RequestValidationError) -> Response:
        fault = error.errors()[0]
        return JSONResponse({"error": f"{'.'.join(map(str, fault['loc']))}: {fault['msg']}"}, 422)

    @app.exception_handler(ClientDisconnect)
    async def pass_over(_: Request, error: ClientDisconnect) -> Response:
        del error
        return Response(status_code=_CLIENT_HAS_GONE)


@final
class _Counted:
    """Counts the answers of /predict by their status, whoever gives them."""

    def __init__(self, app: "ASGIApp", meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http" or not scope["path"].endswith(_PREDICT):
            await self._app(scope, receive, send)
            return
        start = perf_counter()

        async def send_counted(message: "Message") -> None:
            if message["type"] == "http.response.start":
                self._meters.count_response(message["status"], perf_counter() - start)
            await send(message)

        await self._app(scope, receive, send_counted)
