"""The routes of the server: `/predict`, `/healthz`, `/readyz`, `/metrics`, and the OpenAPI page at `/docs`.

It is FastAPI on uvicorn, with a bound of our own on the requests in work. LitServe was looked at: its queue has no
bound at which it answers 503, and it runs the network in other processes, to which every picture would be copied.
"""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import ExitStack, asynccontextmanager
from time import perf_counter
from typing import TYPE_CHECKING, Annotated, final

from fastapi import APIRouter, Depends, FastAPI, HTTPException, Request, Response
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
    408: "The bytes took too long to arrive.",
    413: "Too many bytes.",
    415: "The body is compressed (`Content-Encoding`).",
    422: "`answer` has an unknown value.",
    500: "The network failed.",
    503: "Too many requests are in work; `Retry-After` says in how many seconds to try again. Or the server stops.",
}
_WRONG_TOKEN = {401: "The token is missing or wrong."}
_PART = 65_536
"""Bytes of an answer that are sent at once: as many as asyncio holds before it lets the next part wait."""


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
        is_stopping: whether the server has got a signal to stop.
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
    guarded = APIRouter() if token is None else _guarded_router(token)
    _add_probes(app, pipeline, is_stopping=is_stopping)
    _add_predict(guarded, answering)

    @guarded.get("/metrics", response_class=PlainTextResponse)
    async def metrics() -> Response:
        """Numbers for Prometheus."""
        return Response(meters.text(), media_type=CONTENT_TYPE_LATEST)

    app.include_router(guarded)
    _add_error_handlers(app)
    app.add_middleware(_Counted, meters=meters)
    return app


def _describe(session: Session) -> str:
    labels = ", ".join(session.spec.labels)
    return f"Task `{session.spec.task}`, artefact `{session.artefact}` on {session.engine}. Classes: {labels}."


def _refusals(reasons: Mapping[int, str]) -> dict[int | str, dict[str, object]]:
    """Return what OpenAPI says about refusals. All have the same form."""
    schema = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    content = {"application/json": {"schema": schema}}
    return {status: {"description": reason, "content": content} for status, reason in reasons.items()}


def _guarded_router(token: str) -> APIRouter:
    """Return a router whose routes need a token."""
    bearer = HTTPBearer(auto_error=False, description="The token that the server was started with.")

    async def check_client(
        credentials: Annotated[HTTPAuthorizationCredentials | None, Depends(bearer)],
    ) -> None:
        check_token(credentials and credentials.credentials, token=token)

    return APIRouter(dependencies=[Depends(check_client)], responses=_refusals(_WRONG_TOKEN))


def _add_probes(app: FastAPI, pipeline: Pipeline, *, is_stopping: Callable[[], bool]) -> None:
    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """The process runs."""
        return "ok"

    @app.get("/readyz", response_class=PlainTextResponse, responses=_refusals({503: "It cannot answer now."}))
    async def readyz() -> str:
        """The network is loaded, and the server has got no signal to stop."""
        if is_stopping() or not pipeline.is_alive:
            raise HTTPException(503, "stopping" if is_stopping() else "the network's thread has ended")
        return "ready"


async def _make_place() -> AsyncGenerator[ExitStack]:
    """Yield a stack that FastAPI closes when the answer is sent."""
    with ExitStack() as place:
        yield place


def _add_predict(router: APIRouter, answering: Answering) -> None:
    content = {"application/json": {"example": _EXAMPLE}, "image/jpeg": _BINARY, "image/png": _BINARY}

    @router.post(
        _PREDICT,
        openapi_extra=_BODY,
        response_class=Response,
        responses={
            200: {"description": "The answer, or a picture of it.", "content": content},
            **_refusals(_REFUSALS),
        },
    )
    async def predict(
        request: Request, place: Annotated[ExitStack, Depends(_make_place)], answer: AnswerForm = "json"
    ) -> Response:
        """Answer one picture: its file as the body, or as the only file of a form."""
        content, media_type = await answering.answer(request, answer, place=place)
        return _InParts(content, media_type=media_type)


@final
class _InParts(Response):
    """Sends its body in parts. Each waits until the client has read most of the one before.

    So a client that does not read keeps its place among the accepted requests, and one part of its answer in memory.
    """

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        del scope, receive
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        for start in range(0, len(self.body), _PART):
            end = start + _PART
            await send({"type": "http.response.body", "body": self.body[start:end], "more_body": end < len(self.body)})


def _add_error_handlers(app: FastAPI) -> None:
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
    """Counts the answers of /predict by their status, whoever gives them, and answers what a stop leaves."""

    def __init__(self, app: "ASGIApp", meters: Meters) -> None:
        self._app = app
        self._meters = meters

    async def __call__(self, scope: "Scope", receive: "Receive", send: "Send") -> None:
        if scope["type"] != "http" or scope["path"] != scope.get("root_path", "") + _PREDICT:
            await self._app(scope, receive, send)
            return
        start, has_started = perf_counter(), False

        async def send_counted(message: "Message") -> None:
            nonlocal has_started
            if message["type"] == "http.response.start":
                has_started = True
                self._meters.count_response(message["status"], perf_counter() - start)
            await send(message)

        try:
            await self._app(scope, receive, send_counted)
        except asyncio.CancelledError:
            # Only a server that stops cancels requests: those that are not answered when its time is over.
            if not has_started:
                refusal = JSONResponse({"error": "the server stops"}, 503, {"Connection": "close"})
                await refusal(scope, receive, send_counted)
